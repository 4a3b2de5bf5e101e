"""The page's folder."""

import json

import pytest

from atelier.errors import InvalidInput
from atelier.evaluation.page import write_page
from tests.evaluation.page.samples import results


def test_the_data_are_the_results(tmp_path):
    shown = results() | {"title": "</script> \u2028 한글 \udcff"}
    write_page(tmp_path, shown)
    script = (tmp_path / "data.js").read_text(encoding="utf-8")
    assert "<" not in script
    assert "한글" in script
    assert json.loads(script.removeprefix("window.ATELIER_RESULTS = ").removesuffix(";\n")) == shown


@pytest.mark.parametrize(
    ("change", "words"), [({"version": 2}, "version 2"), ({"title": float("nan")}, "JSON"), ({"title": b""}, "JSON")]
)
def test_what_cannot_be_shown_is_refused(tmp_path, change, words):
    with pytest.raises(InvalidInput, match=words):
        write_page(tmp_path, results() | change)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(InvalidInput, match="is no folder"):
        write_page(tmp_path / "none", results())
