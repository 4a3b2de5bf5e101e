"""The init container's program: files from a store that are held to their list."""

import hashlib
import http.server
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.conftest import ROOT
from tests.deploy.reading import DEPLOY

PROGRAM = DEPLOY / "k8s" / "family" / "bring.py"
CONTENT = bytes(range(256)) * 5000
PATH = "weights/network/model.safetensors"


class Store(http.server.SimpleHTTPRequestHandler):
    """A store that can go on in the midst of a file."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        half = begin + (len(content) - begin) // 2
        self.wfile.write(content[begin:half])
        if self.server.midst is not None:
            self.wfile.flush()
            self.server.midst.wait(20)
        self.wfile.write(content[half:])

    def log_message(self, *words):
        pass


@pytest.fixture
def store():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        server.files, server.asked, server.midst = {f"/{PATH}": CONTENT}, [], None
        threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def volume(tmp_path):
    """A checkout of two files, and an empty volume."""
    for folder in ("model_repository/lama", "ensembles", "backends/onnxruntime"):
        (tmp_path / "checkout" / folder).mkdir(parents=True)
    (tmp_path / "checkout" / "model_repository" / "lama" / "config.pbtxt").write_text("new", encoding="utf-8")
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


AS_HOST = "import runpy, socket, sys; socket.gethostname = lambda host=sys.argv.pop(1): host; "
"""Python's arguments then begin with a host's name, and the program to run as if it were there."""


def bring(volume, listed, store=None, host=None):
    (volume.parent / "list").write_text(listed, encoding="utf-8")
    address = f"http://127.0.0.1:{store.server_port}/" if store else ""
    there = ["-c", f"{AS_HOST}sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')", host]
    start = [*there, PROGRAM] if host else [PROGRAM]
    command = [sys.executable, *start, volume.parent / "checkout", volume, volume.parent / "list"]
    return subprocess.run(command, env={"STORE": address}, capture_output=True, text=True, timeout=60, check=False)


def line(content=CONTENT, path=PATH):
    return f"{hashlib.sha256(content).hexdigest()}  {path}\n"


def test_configurations_are_copied_over_old_ones_and_files_are_brought(volume, store):
    (volume / "model_repository" / "lama").mkdir(parents=True)
    (volume / "model_repository" / "lama" / "config.pbtxt").write_text("old", encoding="utf-8")
    run = bring(volume, "# a comment\n\n" + line(), store)
    assert run.returncode == 0, run.stderr
    assert (volume / "model_repository" / "lama" / "config.pbtxt").read_text(encoding="utf-8") == "new"
    assert (volume / PATH).read_bytes() == CONTENT
    assert not list(volume.rglob("*.part"))


def test_what_is_there_is_not_brought_again(volume, store):
    bring(volume, line(), store)
    store.asked.clear()
    assert bring(volume, line(), store).returncode == 0
    assert store.asked == []


def test_a_part_is_gone_on_with(volume, store):
    part = volume / f"{PATH}.{socket.gethostname()}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    assert bring(volume, line(), store).returncode == 0
    assert store.asked == [(f"/{PATH}", "bytes=1000-")]
    assert (volume / PATH).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_enough(volume, store):
    part = volume / f"{PATH}.{socket.gethostname()}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert bring(volume, line(), store).returncode == 0
    assert (volume / PATH).read_bytes() == CONTENT


def test_two_pods_may_fill_one_volume_at_once(volume, store):
    store.midst = threading.Barrier(2)  # both are in the midst of the file at one time
    with ThreadPoolExecutor() as threads:
        runs = list(threads.map(lambda host: bring(volume, line(), store, host), ("pod-a", "pod-b")))
    assert [run.returncode for run in runs] == [0, 0], [run.stderr for run in runs]
    assert not store.midst.broken
    assert (volume / PATH).read_bytes() == CONTENT
    assert not list(volume.rglob("*.part"))


def test_a_configuration_that_is_the_same_is_left_alone(volume):
    """Another pod's server may just read it."""
    bring(volume, "")
    copied = volume / "model_repository" / "lama" / "config.pbtxt"
    before = copied.stat()
    assert bring(volume, "").returncode == 0
    assert (copied.stat().st_ino, copied.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_file_than_the_listed_one_is_refused_and_does_not_stay(volume, store):
    store.files[f"/{PATH}"] = CONTENT[:-1] + b"!"
    run = bring(volume, line(), store)
    assert run.returncode == 1
    assert "the list says" in run.stderr
    assert not list((volume / PATH).parent.iterdir())


def test_a_file_that_was_changed_on_the_volume_is_brought_anew(volume, store):
    bring(volume, line(), store)
    (volume / PATH).write_bytes(b"changed")
    assert bring(volume, line(), store).returncode == 0
    assert (volume / PATH).read_bytes() == CONTENT


def test_without_a_store_the_file_is_named(volume):
    run = bring(volume, line())
    assert run.returncode == 1
    assert PATH in run.stderr
    assert "no store" in run.stderr


def test_what_the_store_does_not_have_is_named(volume, store):
    run = bring(volume, line(path="weights/gone.bin"), store)
    assert run.returncode == 1
    assert "weights/gone.bin could not be brought: HTTP Error 404" in run.stderr


@pytest.mark.parametrize(
    "listed",
    ["nonsense\n", f"{'0' * 64}  /etc/passwd\n", f"{'0' * 64}  ../up\n", f"{'0' * 63}  short\n", f"{'0' * 64}\n"],
)
def test_lists_that_are_none_and_paths_that_lead_out_are_refused(volume, store, listed):
    run = bring(volume, listed, store)
    assert run.returncode == 1
    assert "line 1 of the list is not" in run.stderr
    assert store.asked == []


@pytest.mark.parametrize("family", ["composite", "generate", "inpaint", "matte"])
def test_the_lists_of_the_families_are_lists(family, volume):
    listed = (DEPLOY / "k8s" / "base" / family / "weights.sha256").read_text(encoding="utf-8")
    assert bring(volume, listed).returncode == 0


def test_the_checkout_has_the_folders_that_are_copied():
    for folder in ("model_repository", "ensembles", "backends"):
        assert (ROOT / folder).is_dir()
