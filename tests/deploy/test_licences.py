"""Licences of what is installed, and that the bill of materials can be made as the Makefile says."""

import re
import subprocess

from tests.conftest import ROOT
from tests.deploy.reading import program


def test_every_package_has_a_licence_that_is_allowed():
    run = subprocess.run([program("pip-licenses")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) > 50


def test_a_licence_that_is_not_allowed_fails():
    command = [program("pip-licenses"), "--allow-only", "Beerware"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "not in allow-only licenses" in run.stderr


def test_what_makes_the_bill_of_materials_is_pinned_apart():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nsbom:")[1].split("\n\n")[0]
    assert re.search(r'"cyclonedx-bom==\d', project.split("\nsbom = [")[1].split("]")[0])
    assert "install '.[sbom]'" in recipe
    assert "install '.[$(EXTRAS)]'" in recipe
