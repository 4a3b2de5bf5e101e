"""Real Chromium, and pages in it that are opened from disk."""

import pytest

from atelier.evaluation.page import write_page
from tests.evaluation.page.samples import THREE, results, write_files


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Videos of three variants; each test writes its own page beside them."""
    folder = tmp_path_factory.mktemp("한글 폴더 #1")
    write_files(folder, results(THREE))
    return folder


@pytest.fixture
def show(browser, folder):
    """Opens a page of some results. In the end it has written no errors and asked for nothing but files."""
    opened, errors, asked = [], [], []

    def open_page(shown=None, *, width=1280, scheme="light", where=folder):
        index = write_page(where, shown or results(THREE))
        page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        opened.append(page)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(index.as_uri())
        return page

    yield open_page
    for page in opened:
        page.close()
    assert errors == []
    assert asked
    assert [url for url in asked if not url.startswith("file://")] == []
