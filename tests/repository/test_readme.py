"""What the README says is run: its examples against a real server, its links, its commands, its figures."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- runs -->\n```(python|bash)\n(.*?)```", README, re.DOTALL)
CARDS = [ROOT / name / "README.md" for name in ("samples", "training", "weights/lama-mini")]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").glob("*.md")), *CARDS]


def test_there_are_examples_for_every_way_in():
    code = "\n".join(body for _, body in EXAMPLES)
    for way in ("Client(", "AsyncClient(", "atelier inpaint", "atelier status", "curl", "shared_memory=True"):
        assert way in code


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(server, number):
    language, body = EXAMPLES[number]
    body = body.replace("http://localhost:8000", server.http_url).replace("localhost:8001", server.grpc_url)
    body = body.replace("localhost:8000", server.http_url)
    (ROOT / "out").mkdir(exist_ok=True)
    bash = ["bash", "-euo", "pipefail", "-c", body.replace(".venv/bin/", f"{Path(sys.executable).parent}/")]
    command = [sys.executable, "-c", body] if language == "python" else bash
    environment = {**os.environ, "PYTHONPATH": ""}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#][^)]*)\)", text):
        if "://" not in target:
            assert (page.parent / target.split("#")[0]).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)", text, re.M)
    }
    for anchor in re.findall(r"\]\(#([^)]*)\)", text):
        assert anchor in headings


def test_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test", "serve"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    run = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "serve", "bench", "lint", "help"):
        assert re.search(rf"^make {target} +\w", run.stdout, re.MULTILINE)


def test_figures_are_those_of_the_result_files():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    tables = re.findall(r"<!-- figures: (\S+) -->\n(.*?)\n\n", text, re.DOTALL)
    assert {file for file, _ in tables} >= {"perf/results/serving-full.md", "perf/results/lama-mini.md"}
    for file, table in tables:
        results = (ROOT / file).read_text(encoding="utf-8")
        rows = [row for row in table.splitlines() if row.startswith("|")][2:]
        assert rows
        for row in rows:
            for cell in re.findall(r"[+-]?\d[\d.]*%?", row.split("|", 2)[2]):
                assert cell in results, f"{cell} stands in the README, but not in {file}"
