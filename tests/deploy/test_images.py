"""The Dockerfile and what it takes from the checkout. No container engine is needed, and none was at hand."""

import json
import re
import subprocess
import tomllib

import pytest

from atelier.serving.launcher import OWN_START
from atelier.serving.options import ServerOptions
from tests.conftest import ROOT
from tests.deploy.reading import DEPLOY, program, serve_options

TEXT = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
LINES = [line for line in re.sub(r" *\\\n *", " ", TEXT).splitlines() if line and not line.startswith("#")]
ARGUMENTS = dict(re.findall(r"^ARG (\w+)=(\S+)", TEXT, re.MULTILINE))
LAST = ("production", "cpu", "workers")


def stages():
    """Each stage's base and its instructions."""
    found = {}
    for line in LINES:
        if match := re.fullmatch(r"FROM (\S+) AS ([\w-]+)", line):
            base = re.sub(r"\$\{(\w+)\}", lambda name: ARGUMENTS[name[1]], match[1])
            found[match[2]] = (base, instructions := [])
        elif found:
            instructions.append(line)
    return found


def told(stage, instruction):
    """The arguments of a stage's instructions of one kind."""
    return [line.split(maxsplit=1)[1] for line in stages()[stage][1] if line.startswith(f"{instruction} ")]


def test_hadolint_has_nothing_to_say():
    run = subprocess.run([program("hadolint"), DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_bases_are_pinned_and_the_server_is_new_enough():
    for base, _ in stages().values():
        assert re.search(r":\d+[.\d]*-", base), base
    release = re.fullmatch(r"nvcr\.io/nvidia/tritonserver:(\d+)\.(\d+)-py3", stages()["production"][0])
    assert tuple(map(int, release.groups())) >= (26, 5)


def test_production_is_what_is_built_without_a_target():
    assert list(stages())[-1] == "production"


@pytest.mark.parametrize("stage", LAST)
def test_last_stages_build_nothing_and_belong_to_no_root(stage):
    assert not told(stage, "RUN")
    assert told(stage, "USER") == ["1000:1000"]
    assert f"--from={stage}-build /opt/venv /opt/venv" in told(stage, "COPY")
    assert any("python3 -m venv --without-pip /opt/venv" in line for line in told(f"{stage}-build", "RUN"))


@pytest.mark.parametrize("stage", ["production", "cpu"])
def test_entry_points_are_commands_that_exist(stage):
    (entry,) = (json.loads(line) for line in told(stage, "ENTRYPOINT"))
    assert entry[:2] == ["atelier", "serve"]
    assert entry[entry.index("--host") + 1] == "0.0.0.0"
    options = {word for word in entry if word.startswith("--")}
    assert options <= serve_options().keys()
    if stage == "production":
        assert entry[entry.index("--server") + 1] == "/opt/tritonserver/bin/tritonserver"
    health = entry[entry.index("--health-port") + 1]
    check = told(stage, "HEALTHCHECK")[0]
    assert f"http://127.0.0.1:{health}/readyz" in check  # /healthz is 200 while it starts
    assert 60 * int(re.search(r"--start-period=(\d+)m", check)[1]) >= ServerOptions.stub_timeout + OWN_START
    assert health in told(stage, "EXPOSE")[0].split()


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = {ARGUMENTS["EXTRAS"], *re.findall(r"EXTRAS=(\w+)", TEXT), *re.findall(r'"\.\[(\w+)\]"', TEXT)}
    named |= {word for both in re.findall(r'"\.\[([\w,]+)\]"', TEXT) for word in both.split(",")}
    assert {"serve", "bridge", "jobs", "generation", "bits"} <= named <= extras.keys()


def ignored(path):
    """Whether `.dockerignore` keeps a path from the build; the last line that matches it, or a folder of it, counts."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(rf"{pattern}(?:/.*)?", path):
            out = not line.startswith("!")
    return out


@pytest.mark.parametrize("stage", stages())
def test_what_is_copied_is_in_the_checkout_and_in_the_build(stage):
    for line in told(stage, "COPY"):
        if not line.startswith("--from="):
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert not ignored(source), source


@pytest.mark.parametrize(
    "path",
    [
        "deploy/secrets/redis_password",
        ".git/config",
        ".venv/bin/python",
        ".env",
        "weights/wan2.2-ti2v-5b/config.json",
        "tests/conftest.py",
        "atelier/serving/__pycache__/launcher.pyc",
        "model_repository/gvm_unet/1/model.onnx",
        "model_repository/gvm_unet/1/model.onnx.data",
        "model_repository/lama/2/model.plan",
    ],
)
def test_neither_secrets_nor_weights_get_into_an_image(path):
    assert ignored(path)


@pytest.mark.parametrize(
    "path", ["model_repository/lama/1/model.onnx", "model_repository/inpaint/1/model.py", "atelier/py.typed"]
)
def test_what_is_needed_gets_in(path):
    assert (ROOT / path).is_file()
    assert not ignored(path)
