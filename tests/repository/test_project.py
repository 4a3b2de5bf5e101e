"""Promises about the repository itself."""

import json
import re
import subprocess
import tomllib

import pytest
from onnxruntime import InferenceSession

from tests.conftest import ROOT

TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    if name and (ROOT / name).is_file()
]
TEXTS = [
    p
    for p in TRACKED
    if p.suffix in {".py", ".md", ".pbtxt", ".toml", ".sh", ".txt", ".json", ""} and "golden" not in p.parts
]


def test_dependencies_are_pinned_and_say_why_they_are_there():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    listed = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    for dependency in listed:
        if dependency.startswith("atelier["):
            continue
        assert re.fullmatch(r"[\w-]+(\[[\w,]+\])?==[\w.]+", dependency), f"{dependency} is not pinned"
        line = next(line for line in text.splitlines() if f'"{dependency}"' in line)
        assert re.search(r"# \S+ \S+", line), f"{dependency} does not say why it is there"


def test_nothing_of_a_machine_or_a_registry_is_in_the_files():
    # Written with brackets, so that this line does not find itself.
    forbidden = re.compile(r"/wor[k]/|/roo[t]/|/hom[e]/\w+/|file[:]///|pypi\.or[g]|pythonhoste[d]|npmj[s]")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in TEXTS
        if path.name != "LICENSE" and (match := forbidden.search(path.read_text(encoding="utf-8")))
    ]
    assert not found


def test_files_stay_readable():
    long = [
        p
        for p in TRACKED
        if p.suffix == ".py" and "tests" not in p.parts and len(p.read_text("utf-8").splitlines()) > 400
    ]
    assert not long


def test_a_clone_stays_small():
    golden = sum(p.stat().st_size for p in TRACKED if "golden" in p.parts)
    assert golden < 25e6
    assert not [p for p in TRACKED if p.stat().st_size > 12e6]


def test_the_bundled_artefact_is_small_described_and_for_the_oldest_server():
    folder = ROOT / "model_repository" / "lama" / "1"
    described = json.loads((folder / "model.onnx.json").read_text(encoding="utf-8"))
    assert (folder / "model.onnx").stat().st_size <= 12_000_000
    assert described["synthetic"] is False
    assert described["checkpoint"]["name"] == "lama-mini"
    session = InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    shapes = {
        tensor.name: (tensor.type, len(tensor.shape)) for tensor in (*session.get_inputs(), *session.get_outputs())
    }
    assert shapes == {"IMAGE": ("tensor(uint8)", 4), "MASK": ("tensor(uint8)", 3), "INPAINTED": ("tensor(uint8)", 4)}


@pytest.mark.parametrize(("higher", "lower"), [("serving", "inpainting"), ("client", "serving"), ("serving", "client")])
def test_floors(higher, lower):
    """A file imports from lower floors only, and the client does not draw in the server."""
    pattern = re.compile(rf"^\s*(from|import) atelier\.{higher}\b", re.MULTILINE)
    for path in (ROOT / "atelier" / lower).rglob("*.py"):
        assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_nothing_below_serving_knows_triton():
    for folder in ("media", "inpainting"):
        for path in (ROOT / "atelier" / folder).rglob("*.py"):
            assert not re.search(r"^\s*(from|import) triton", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_ci_runs_what_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = [line for line in script.splitlines() if line.startswith("make")]
    assert commands == ["make lint", "make test"]
