"""``atelier weights pull`` against a server that speaks the hub's routes: whole and checked, or not at all."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from atelier.serving.catalogue import CATALOGUE
from tests.cli.hub import COMMIT, Hub
from tests.conftest import ROOT

MAIN = "from atelier.cli import main; main()"
TENSORS = save({"weight": np.random.default_rng(3).integers(0, 256, 24_000_000, np.uint8)})
PIECE = 10 << 20  # bytes that the hub's library writes at a time
BIREFNET = {
    "config.json": b'{"architectures": ["BiRefNet"]}',
    "birefnet.py": b"# read, never run\n",
    "model.safetensors": TENSORS,
    "README.md": b"",
    "pytorch_model.bin": b"not wanted",
    "onnx/model.onnx": b"not wanted",
}


@pytest.fixture
def environment(tmp_path):
    """Without a token, and with a home of its own in which a token lies that must not be read."""
    home = tmp_path / "hub"
    home.mkdir()
    (home / "token").write_text("secret-of-a-file")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, "HF_HOME": str(home), "COLUMNS": "200"}


@pytest.fixture
def pull(environment, tmp_path):
    def run(hub, *arguments, code=MAIN, **more):
        address = {"HF_ENDPOINT": hub if isinstance(hub, str) else hub.url}
        options = {"preexec_fn": more.pop("preexec_fn", None)}
        return subprocess.run(
            [sys.executable, "-c", code, "weights", "pull", *map(str, arguments)],
            cwd=ROOT,
            env={**environment, **address, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **options,
        )

    return run


@pytest.fixture
def target(tmp_path):
    (tmp_path / "무게").mkdir()
    return tmp_path / "무게" / "birefnet"


def failed(run, words, target):
    """One line of error after what was said before, status 1, and nothing under the target's name."""
    assert run.returncode == 1, run.stdout + run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.startswith("atelier: ")
    assert words in last
    assert run.stderr.count("atelier: ") == 1
    assert "Traceback" not in run.stderr
    assert not target.exists()


def test_weights_come_whole_with_their_licence_said_first(pull, target):
    with Hub("ZhengPeng7/BiRefNet", BIREFNET) as hub:
        run = pull(hub, "birefnet", "--to", target)
        assert run.returncode == 0, run.stderr
        first, files, *progress = run.stderr.splitlines()
        assert first == f"birefnet: licence MIT, commercial use allowed; {hub.url}/ZhengPeng7/BiRefNet"
        assert files == f"4 files, 0.02 GB, commit {COMMIT[:12]}"
        assert progress[2] == "3 of 4: model.safetensors, 24.0 MB"
        assert str(target) in run.stdout
        wanted = {name: content for name, content in BIREFNET.items() if b"not wanted" not in content}
        assert {path.name: path.read_bytes() for path in target.iterdir() if path.name != ".atelier.json"} == wanted
        record = json.loads((target / ".atelier.json").read_text())
        assert record["commit"] == COMMIT
        assert record["files"] == {name: len(content) for name, content in wanted.items()}
        assert [path.name for path in target.parent.iterdir()] == ["birefnet"]
        assert not any("authorization" in headers for _, headers in hub.asked)
        asked = len(hub.asked)
        again = pull(hub, "birefnet", "--to", target)
        assert again.returncode == 0
        assert f"there already, commit {COMMIT[:12]}" in again.stdout
        assert len(hub.asked) == asked
        other = pull(hub, "birefnet", "--to", target, "--revision", "abc")
        assert "is there, from 0123456789ab: move it away" in other.stderr


def test_a_cut_connection_goes_on_at_once(pull, target):
    with Hub("ZhengPeng7/BiRefNet", BIREFNET, cuts={"model.safetensors": [PIECE + 9, PIECE + 9]}) as hub:
        run = pull(hub, "birefnet", "--to", target)
        assert run.returncode == 0, run.stderr
        assert hub.ranges("model.safetensors") == [None, f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]
    assert (target / "model.safetensors").read_bytes() == TENSORS


def test_what_was_lost_for_good_goes_on_with_the_next_pull(pull, target):
    cuts = {"model.safetensors": [PIECE + 9] + [0] * 6}
    with Hub("ZhengPeng7/BiRefNet", BIREFNET, cuts=cuts) as hub:
        failed(pull(hub, "birefnet", "--to", target), "was lost", target)
        asked = len(hub.asked)
        run = pull(hub, "birefnet", "--to", target)
        assert run.returncode == 0, run.stderr
        assert "model.safetensors, 24.0 MB, 10.5 of them there" in run.stderr
        assert [path for path, _ in hub.asked[asked:] if path.endswith((".json", ".py"))] == []
        assert hub.ranges("model.safetensors")[-1] == f"bytes={PIECE}-"
    assert (target / "model.safetensors").read_bytes() == TENSORS
    assert [path.name for path in target.parent.iterdir()] == ["birefnet"]


def test_ctrl_c_keeps_what_came(pull, target, environment):
    with Hub("ZhengPeng7/BiRefNet", BIREFNET, pause=0.05) as hub:
        command = [sys.executable, "-c", MAIN, "weights", "pull", "birefnet", "--to", str(target)]
        process = subprocess.Popen(
            command, cwd=ROOT, env={**environment, "HF_ENDPOINT": hub.url}, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in target.parent.rglob("model.safetensors.begun")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        hub.pause = 1.0
        failed(pull(hub, "birefnet", "--to", target), "Another process is bringing", target)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        assert not target.exists()
        hub.pause = 0
        assert pull(hub, "birefnet", "--to", target).returncode == 0
        assert hub.ranges("model.safetensors")[-1].startswith("bytes=")
    assert (target / "model.safetensors").read_bytes() == TENSORS


@pytest.mark.parametrize(
    "changed",
    [
        {"wrong": {"model.safetensors": TENSORS[:-1] + b"x"}},  # SHA-256
        {"wrong": {"config.json": b'{"architectures": ["BiRefNot"]}'}},  # git's own digest
        {"wrong": {"model.safetensors": TENSORS[:1000]}},  # too short
        {"wrong": {"model.safetensors": TENSORS + b"more"}},  # too long
        {"announced": {"model.safetensors": len(TENSORS) + 10}},
    ],
)
def test_what_is_not_as_described_is_thrown_away(pull, target, changed):
    with Hub("ZhengPeng7/BiRefNet", BIREFNET, **changed) as hub:
        failed(pull(hub, "birefnet", "--to", target), "did not come as the hub describes it", target)
    assert list(target.parent.iterdir()) == []


def test_a_non_commercial_licence_must_be_accepted(pull, target):
    files = {f"{name}/config.json": b"{}" for name in ("unet", "vae")}
    files |= {f"{name}/diffusion_pytorch_model.safetensors": save({}) for name in ("unet", "vae")}
    files["scheduler/scheduler_config.json"] = b"{}"
    with Hub("geyongtao/gvm", files) as hub:
        failed(pull(hub, "gvm", "--to", target), "allows no commercial use: accept it with --yes", target)
        assert hub.asked == []
        run = pull(hub, "gvm", "--to", target, "--yes")
    assert run.returncode == 0, run.stderr
    assert "NO commercial use" in run.stderr
    assert f"Then: python -m export gvm --checkpoint {target}" in run.stdout
    assert (target / "vae" / "config.json").is_file()


def test_gated_weights_need_the_token_of_the_environment(pull, target):
    with Hub("briaai/RMBG-2.0", BIREFNET, token="right") as hub:
        arguments = ("rmbg-2.0", "--yes", "--to", target)
        failed(pull(hub, *arguments), "is gated, and HF_TOKEN is not set: accept its licence at", target)
        run = pull(hub, *arguments, HF_TOKEN="wrong")
        failed(run, "is gated, and the account of HF_TOKEN may not read it", target)
        assert "wrong" not in run.stderr
        assert list(target.parent.iterdir()) == []
        assert pull(hub, *arguments, HF_TOKEN="right").returncode == 0
        sent = {headers.get("authorization") for _, headers in hub.asked}
    assert sent == {None, "Bearer wrong", "Bearer right"}


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return packed.getvalue()


def test_an_archive_is_taken_apart(pull, target):
    content = {"big-lama__config.yaml": "a: 1", "big-lama__models__best.ckpt": "weights"}
    with Hub("smartywu/big-lama", {"big-lama.zip": zipped(**content)}) as hub:
        run = pull(hub, "lama", "--to", target)
    assert run.returncode == 0, run.stderr
    names = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert names == {"config.yaml", "models/best.ckpt", ".atelier.json"}
    assert f"Then: python -m export lama --checkpoint {target} --version 2" in run.stdout


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (zipped(**{"big-lama__..__..__evil": "x"}), "does not belong into a folder"),
        (zipped(config="a"), "holds no config.yaml, models/best.ckpt"),
        (b"PK no zip", "is no zip that can be read"),
    ],
)
def test_an_archive_that_is_none(pull, target, packed, words):
    with Hub("smartywu/big-lama", {"big-lama.zip": packed}) as hub:
        failed(pull(hub, "lama", "--to", target), words, target)
    assert list(target.parent.iterdir()) == []


def test_a_revision(pull, target):
    with Hub("ZhengPeng7/BiRefNet", BIREFNET) as hub:
        (target.parent / ".birefnet.aaaa.part").mkdir()  # of a commit that was the newest once
        failed(pull(hub, "birefnet", "--to", target, "--revision", "gone"), "has no revision 'gone'", target)
        assert pull(hub, "birefnet", "--to", target, "--revision", "v1").returncode == 0
    assert all(COMMIT in path for path, _ in hub.asked if "/resolve/" in path)
    assert [path.name for path in target.parent.iterdir()] == ["birefnet"]


def test_what_cannot_be_had_is_one_line(pull, target):
    with Hub("ZhengPeng7/BiRefNet", {"config.json": b"{}"}) as hub:
        failed(pull(hub, "birefnet", "--to", target), "has no birefnet.py, model.safetensors at its newest", target)
        failed(pull(hub, "sam2.1-hiera-large", "--to", target), "has no facebook/sam2.1-hiera-large", target)
        failed(pull(hub, "birefnet", "--to", target, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE is set", target)
        failed(
            pull(hub, "big-lama", "--to", target),
            "no weights 'big-lama' in the catalogue; there are: lama, gvm",
            target,
        )
        without = f"import sys; sys.modules['huggingface_hub'] = None; {MAIN}"
        failed(pull(hub, "birefnet", "--to", target, code=without), "pip install 'atelier[weights]'", target)
    failed(pull("http://127.0.0.1:9", "birefnet", "--to", target), "http://127.0.0.1:9 cannot be reached", target)
    assert list(target.parent.iterdir()) == []


def test_too_little_room_is_told_before_anything_comes(pull, target):
    with Hub("ZhengPeng7/BiRefNet", BIREFNET, announced={"model.safetensors": 10**16}) as hub:
        failed(pull(hub, "birefnet", "--to", target), "needs 10000000.0 GB, and ", target)
        assert not any("/resolve/" in path for path, _ in hub.asked)
    assert list(target.parent.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_nothing(pull, target):
    with Hub("ZhengPeng7/BiRefNet", BIREFNET) as hub:
        run = pull(
            hub,
            *("birefnet", "--to", target),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20)),
        )
        failed(run, "cannot be written (File too large)", target)
    assert list(target.parent.iterdir()) == []


def test_a_folder_is_never_written_over(pull, target):
    target.mkdir()
    (target / "config.json").write_text("mine")
    with Hub("ZhengPeng7/BiRefNet", BIREFNET) as hub:
        run = pull(hub, "birefnet", "--to", target)
        assert run.returncode == 1
        assert "is there, and not whole (birefnet.py is missing): move it away" in run.stderr
        assert hub.asked == []
    assert [path.name for path in target.iterdir()] == ["config.json"]


def test_the_catalogue_speaks_for_itself():
    assert (
        len({weights.name for weights in CATALOGUE}) == len({weights.folder for weights in CATALOGUE}) == len(CATALOGUE)
    )
    non_commercial = {weights.name for weights in CATALOGUE if not weights.commercial}
    assert non_commercial == {"gvm", "flux.1-fill-dev", "flux.1-redux-dev", "rmbg-2.0"}
    from atelier.compositing import settings

    stages = (settings.AnalyzerSettings(), settings.ExtractorSettings(), settings.SynthesizerSettings())
    folders = {
        value
        for stage in stages
        for value in stage.model_dump().values()
        if isinstance(value, str) and value.startswith("weights/")
    }
    assert folders <= {f"weights/{weights.folder}" for weights in CATALOGUE}
