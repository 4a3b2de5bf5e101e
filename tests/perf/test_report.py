"""What is written, and that it tells nothing of whose machine it was."""

import json
import re
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from perf import report
from perf.measure import Summary


def test_the_machine_is_described_without_its_name_or_folders():
    facts = report.machine()
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0
    text = json.dumps(facts) + report.describe(facts)
    assert "/" not in facts["cpu"]
    assert str(Path.home()) not in text
    assert socket.gethostname() not in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "2 cores of Some CPU, 16.0 GiB of memory, no GPU"),
        ({"cores": 1, "gpu": "Some GPU"}, "1 core of Some CPU, 16.0 GiB of memory, Some GPU"),
    ],
)
def test_a_machine_in_words(changes, expected):
    assert report.describe({"cpu": "Some CPU", "cores": 2, "memory_gib": 16.0, "gpu": None, **changes}) == expected


def test_a_field_that_is_not_there(tmp_path):
    (tmp_path / "info").write_text("processor\t: 0\nmodel name\t: A: B\nmodel name\t: other\n", encoding="utf-8")
    assert report._field(tmp_path / "info", "model name") == "A: B"
    assert report._field(tmp_path / "info", "flags") is None
    assert report._field(tmp_path / "missing", "model name") is None


def test_versions_are_those_of_what_runs():
    found = report.versions("2.51.0")
    assert found["triton"] == "2.51.0"
    assert found["numpy"] == version("numpy")
    assert set(found) == {"python", "numpy", "torch", "onnxruntime", "tritonclient", "triton"}


def test_the_commit_says_whether_files_were_changed(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1", encoding="utf-8")
    git("add", "file")
    git("commit", "-m", "first")
    git("tag", "a-tag")
    assert re.fullmatch(r"[0-9a-f]{12}", report.commit(tmp_path))
    (tmp_path / "file").write_text("2", encoding="utf-8")
    assert re.fullmatch(r"[0-9a-f]{12}-dirty", report.commit(tmp_path))


def test_no_commit_outside_of_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert report.commit(tmp_path) is None


def test_a_table_is_markdown():
    assert report.table(["", "a"], [["x", "1"], ["y", "2"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |\n| y | 2 |"


def test_numbers_keep_three_digits():
    spread = Summary(median=0.0123456, q1=0.01, q3=0.02, minimum=0.00123456, maximum=0.123456)
    assert report.milliseconds(spread) == "12.3 (1.23 – 123)"
    assert report.ratio(Summary(0.804, 0.79, 0.856, 0.1, 9)) == "0.80 (0.79 – 0.86)"
    assert report.percent(Summary(0.123, -0.004, 0.5, -1, 9)) == "+12.3% (-0.4% – +50.0%)"


def test_both_files_are_written_where_there_was_no_folder(tmp_path):
    document = {"cpu": "Ä", "samples": [1.5, 2.5]}
    files = report.write(document, "# Title ×\n", tmp_path / "new" / "folder", "name")
    assert [file.name for file in files] == ["name.json", "name.md"]
    assert json.loads(files[0].read_text(encoding="utf-8")) == document
    assert files[1].read_text(encoding="utf-8") == "# Title ×\n"
