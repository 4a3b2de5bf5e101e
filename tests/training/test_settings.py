import subprocess
import sys

import pytest
import yaml

from atelier.errors import InvalidInput
from tests.conftest import ROOT
from tests.training.tiny import SETTINGS, changed, parsed
from training import settings, state
from training.settings import SettingsError


def test_the_checkouts_own_settings():
    own = settings.read(ROOT / "training" / "settings.yaml")
    assert own.total_steps > 1000
    assert not set(own.fonts.train) & set(own.fonts.held_out)
    assert own.stages[-1].frozen_norm  # trained at the end as it serves


def test_defaults_are_no_secret(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    read = settings.read(file)
    assert read == settings.parse(SETTINGS)
    assert settings.parse(read.model_dump(mode="json")) == read  # as states keep them
    assert all(field.description for field in settings.Losses.model_fields.values())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("seed", -1, "seed: "),
        ("seed", "twenty", "seed: "),
        ("device", "tpu", "device: "),
        ("threads", 0, "threads: "),
        ("workers", -1, "workers: "),
        ("generator.ngf", 0, "generator.ngf: "),
        ("generator.n_blocks", 0, "generator.n_blocks: "),
        ("generator.n_downsampling", 4, "generator.n_downsampling: "),
        ("generator.global_ratio", 1.0, "generator.global_ratio: "),
        ("generator.global_ratio", 0.05, "generator: global_ratio 0.05 leaves"),
        ("generator.depth", 3, "generator.depth: "),
        ("fonts.train", "DejaVuSans.ttf", "fonts.train: "),
        ("fonts.held_out", ["ipag.ttf"], "fonts: held_out and train share ipag.ttf"),
        ("ema_decay", 1.0, "ema_decay: "),
        ("optimiser.lr", 0, "optimiser.lr: "),
        ("optimiser.lr", float("nan"), "optimiser.lr: "),
        ("optimiser.betas", [0.9], "optimiser.betas"),
        ("optimiser.betas", [0.9, 1.0], "optimiser.betas[1]: "),
        ("optimiser.weight_decay", -0.1, "optimiser.weight_decay: "),
        ("optimiser.warmup_steps", -1, "optimiser.warmup_steps: "),
        ("optimiser.final", 1.1, "optimiser.final: "),
        ("optimiser.clip_norm", 0, "optimiser.clip_norm: "),
        ("discriminator.n_layers", 6, "discriminator.n_layers: "),
        ("discriminator.lr", float("inf"), "discriminator.lr: "),
        ("losses.hole", -1, "losses.hole: "),
        ("losses.perceptual", 1, "losses.perceptual: "),
        ("losses.r1_every", 0, "losses.r1_every: "),
        ("stages", [], "stages: "),
        ("stages.0.steps", 0, "stages[0].steps: "),
        ("stages.0.shapes", [], "stages[0].shapes: "),
        ("stages.0.shapes.0.height", 36, "stages[0].shapes[0].height: "),
        ("stages.0.shapes.0.width", 24, "stages[0].shapes[0].width: "),
        ("stages.0.shapes.0.batch", 1, "stages[0]: shapes with a batch of 1 need frozen_norm"),
        ("stages.1.shapes.0.weight", 0, "stages[1].shapes[0].weight: "),
        ("validation_side", 100, "validation_side: "),
        ("log_every", 0, "log_every: "),
        ("stop_after_minutes", 5, "stop_after_minutes: "),
    ],
)
def test_what_cannot_be_is_refused_by_name(path, value, said):
    with pytest.raises(SettingsError) as refusal:
        parsed((path, value))
    assert str(refusal.value).startswith(f"settings: {said}")
    assert isinstance(refusal.value, InvalidInput)


@pytest.mark.parametrize("name", ["generator", "fonts", "optimiser", "discriminator", "losses", "stages"])
def test_what_is_missing_is_named(name):
    values = changed()
    del values[name]
    with pytest.raises(SettingsError, match=f"^settings: {name}: field required\\.$"):
        settings.parse(values)


def test_some_mistakes_are_told_and_all_are_counted():
    with pytest.raises(SettingsError) as refusal:
        settings.parse({"seed": -1, "threads": 0})
    assert "seed: " in str(refusal.value)
    assert "threads: " in str(refusal.value)
    assert str(refusal.value).endswith("; and 3 more.")


@pytest.mark.parametrize("text", ["a: [", "a: \x00", "- 1", "", "just text"])
def test_a_file_that_holds_no_settings(tmp_path, text):
    file = tmp_path / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^wrong\.yaml"):
        settings.read(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml cannot be read: No such file"):
        settings.read(tmp_path / "none.yaml")


@pytest.mark.parametrize(("text", "said"), [(None, "cannot be read"), ("seed: -1", "seed: input should be greater")])
def test_the_command_says_it_in_one_line(tmp_path, text, said):
    file = tmp_path / "settings.yaml"
    if text:
        file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "training", "--settings", str(file), "--output", str(tmp_path / "run")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("training: settings.yaml")
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


BEFORE = parsed().model_dump(mode="json")


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (6, []),
        (6, [("stages.1.steps", 40)]),
        (6, [("stages.1.steps", 2)]),  # which makes it finished
        (2, [("stages.0.steps", 20), ("stages.1.shapes.0.height", 64)]),
        (4, [("stages.0.steps", 20)]),  # the first stage is done: it is made longer
        (6, [("threads", 2), ("workers", 3), ("device", "auto"), ("log_every", 9), ("checkpoint_every", 9)]),
        (6, [("sample_every", 9), ("fonts.held_out", ["ipagp.ttf"])]),
    ],
)
def test_settings_that_a_run_may_go_on_with(step, changes):
    state.check(BEFORE, parsed(*changes), step)


@pytest.mark.parametrize(
    ("step", "path", "value", "named"),
    [
        (6, "optimiser.lr", 2e-3, "optimiser.lr (0.001 before)"),
        (0, "generator.ngf", 8, "generator.ngf (4 before)"),
        (6, "fonts.train", ["DejaVuSans.ttf"], "fonts.train"),
        (6, "stages.0.steps", 5, "stages[0].steps (4 before)"),
        (6, "stages.1.adversarial", False, "stages[1].adversarial (True before)"),
        (2, "stages.0.shapes.0.batch", 4, "stages[0].shapes"),
        (6, "stages.1.steps", 1, "5 steps are less than the 6"),
    ],
)
def test_settings_that_a_run_may_not_go_on_with(step, path, value, named):
    wanted = parsed((path, value))
    with pytest.raises(SettingsError) as refusal:
        state.check(BEFORE, wanted, step)
    assert named in str(refusal.value)
