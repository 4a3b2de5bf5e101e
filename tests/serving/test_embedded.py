"""The embedded server's installation, and what is said where something is missing."""

import shutil
import subprocess
import sys
from pathlib import Path

from atelier.serving import embedded


def test_it_is_installed_and_this_machine_can_run_it():
    server = embedded.locate()
    assert server.installed
    assert server.missing() == []


def test_a_second_install_touches_nothing():
    server = embedded.locate()
    before = server.binary.stat().st_mtime_ns, server.folder.stat().st_mtime_ns
    assert embedded.install() == server
    assert (server.binary.stat().st_mtime_ns, server.folder.stat().st_mtime_ns) == before


def test_not_installed_is_said(tmp_path):
    (problem,) = embedded.EmbeddedServer(tmp_path).missing()
    assert "not installed" in problem
    assert "make serve" in problem


def test_an_interpreter_without_a_stub_is_said(tmp_path):
    server = embedded.EmbeddedServer(tmp_path)
    server.binary.parent.mkdir(parents=True)
    server.binary.touch()
    for minor in ("3.8", "3.10"):
        (server.stub.parents[1] / minor).mkdir(parents=True)
    (problem,) = server.missing()
    assert "no Python stub" in problem
    assert "3.8, 3.10" in problem


def test_installing_from_an_unreachable_index_is_one_sentence(tmp_path):
    environment = {"PATH": "", "ATELIER_TOOLS": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "atelier.serving.embedded"], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("The embedded server could not be installed with pip:")
    assert len(run.stderr.splitlines()) == 1
    assert not any(tmp_path.iterdir()), "a failed install leaves nothing behind"


def test_backends_are_assembled_without_links(tmp_path):
    extra = tmp_path / "extra" / "mine"
    extra.mkdir(parents=True)
    (extra / "model.py").write_text("x = 1\n")
    target = tmp_path / "backends"
    embedded.locate().assemble_backends(target, extra.parent)
    assert (target / "mine" / "model.py").read_text() == "x = 1\n"
    names = {path.name for path in (target / "python").iterdir()}
    assert {"libtriton_python.so", "triton_python_backend_stub", "triton_python_backend_utils.py"} <= names
    assert not [path for path in Path(target).rglob("*") if path.is_symlink()]
    shutil.rmtree(target)
