"""The repository's lint: each rule finds what it stands for, at its line, and our own models pass."""

import pytest

from atelier.serving.lint import lint
from tests.conftest import ROOT

GOOD = """backend: "python"
max_batch_size: 4
input [ { name: "X" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { count: 1 } ]
"""

WRONG = {
    "name": ('name: "other"\n' + GOOD, 1, "is not the folder's"),
    "no instances": (GOOD.replace("instance_group [ { count: 1 } ]", ""), 1, "there is no instance_group"),
    "no count": (GOOD.replace("count: 1", "kind: KIND_CPU"), 5, "count is missing"),
    "gpu": (GOOD.replace("count: 1", "count: 1 kind: KIND_GPU"), 5, "does not load without a GPU"),
    "queue": (GOOD + "dynamic_batching {}\n", 6, "max_queue_size is missing"),
    "override": (
        GOOD + "dynamic_batching { default_queue_policy {\n max_queue_size: 1\n allow_timeout_override: true } }\n",
        8,
        "without default_timeout_microseconds it does nothing",
    ),
    "warm-up": (GOOD + 'model_warmup [ {\n  name: "cold"\n} ]\n', 7, "batch_size 0, which is skipped"),
    "newer field": (GOOD + "model_metrics {\n metric_control {} }\n", 6, "came with 24.11"),
    "newer nested": (
        'platform: "ensemble"\nensemble_scheduling {\n step [ { model_name: "m" input_map { key: "a" value: "X" } '
        'output_map { key: "b" value: "Y" } } ]\n max_inflight_requests: 4 }\n',
        4,
        "came with 25.11",
    ),
    "requires": (GOOD + 'parameters { key: "requires" value { string_value: "ghost" } }\n', 6, "in none of the repo"),
    "ragged": (
        GOOD.replace('"python"', '"onnxruntime"').replace(
            "TYPE_STRING dims: [ 1 ]", "TYPE_FP32 dims: [ 1 ] allow_ragged_batch: true", 1
        ),
        3,
        "flattens ragged inputs",
    ),
    "syntax": (GOOD + "instances: 3\n", 6, "instances"),
}


def write(root, config, script="x = 1\n"):
    folder = root / "m"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    (folder / "1" / "model.py").write_text(script)
    return folder


def test_our_own_models_pass():
    assert [str(finding) for finding in lint([ROOT / "model_repository", ROOT / "ensembles"])] == []


def test_a_good_model_passes(tmp_path):
    write(tmp_path, GOOD)
    assert lint([tmp_path]) == []


@pytest.mark.parametrize("case", WRONG)
def test_each_rule(tmp_path, case):
    config, line, message = WRONG[case]
    file = write(tmp_path, config) / "config.pbtxt"
    findings = lint([tmp_path])
    assert [(finding.file, finding.line) for finding in findings] == [(file, line)]
    assert message in findings[0].message


def test_newer_fields_may_stand_in_a_profile(tmp_path):
    folder = write(tmp_path, GOOD)
    (folder / "configs").mkdir()
    (folder / "configs" / "ngc.pbtxt").write_text(GOOD + "model_metrics { metric_control {} }\n")
    assert lint([tmp_path]) == []


def test_profiles_are_linted_too(tmp_path):
    folder = write(tmp_path, GOOD)
    (folder / "configs").mkdir()
    (folder / "configs" / "gpu.pbtxt").write_text(GOOD.replace("count: 1", "count: 1 kind: KIND_GPU"))
    assert [finding.file.name for finding in lint([tmp_path])] == ["gpu.pbtxt"]


def test_parallel_steps(tmp_path):
    for name in ("a", "b", "c"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.pbtxt").write_text(GOOD)
    (tmp_path / "pipe").mkdir()

    def step(model, source, target):
        return (
            f'{{ model_name: "{model}" input_map {{ key: "X" value: "{source}" }} '
            f'output_map {{ key: "Y" value: "{target}" }} }}'
        )

    steps = ",\n".join([step("a", "IN", "one"), step("b", "one", "two"), step("c", "one", "OUT")])
    config = f'platform: "ensemble"\nensemble_scheduling {{ step [\n{steps} ] }}\n'
    (tmp_path / "pipe" / "config.pbtxt").write_text(config)
    findings = lint([tmp_path])
    assert [(finding.line, "keep ensembles linear" in finding.message) for finding in findings] == [(5, True)]


def test_the_profile_of_newer_servers_may_have_steps_in_parallel(tmp_path):
    step = '{{ model_name: "m" input_map {{ key: "X" value: "IN" }} output_map {{ key: "Y" value: "{}" }} }}'
    parallel = f'platform: "ensemble"\nensemble_scheduling {{ step [{step.format("one")}, {step.format("OUT")}] }}\n'
    write(tmp_path, GOOD)
    (tmp_path / "pipe" / "configs").mkdir(parents=True)
    (tmp_path / "pipe" / "config.pbtxt").write_text('platform: "ensemble"\n')
    for profile, messages in (("ngc", 0), ("openvino", 1)):
        file = tmp_path / "pipe" / "configs" / f"{profile}.pbtxt"
        file.write_text(parallel)
        assert len(lint([tmp_path])) == messages
        file.unlink()


def test_an_adapter_that_grew(tmp_path):
    docstring = '"""' + "words\n" * 60 + '"""\n'
    write(tmp_path, GOOD, docstring + "x = 1\n" * 40)
    assert lint([tmp_path]) == []
    (tmp_path / "m" / "1" / "model.py").write_text("x = 1\n" * 41)
    assert "has 41 lines of code" in lint([tmp_path])[0].message


def test_a_script_that_is_not_python(tmp_path):
    write(tmp_path, GOOD, "def :\n")
    assert "is not Python" in lint([tmp_path])[0].message


def test_a_folder_without_a_configuration(tmp_path):
    (tmp_path / "m").mkdir()
    assert "is missing" in lint([tmp_path])[0].message
