"""The Korean README is the English one, whole: headings, commands, tables, figures, links and names are in step."""

import re
from collections import Counter

import pytest

from tests.conftest import ROOT

Block = tuple[str, str]  # what it is, and its lines

# Spelled out in English, mostly digits in Korean.
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SPELLED = {word: str(number) for number, word in enumerate(WORDS, start=1)}
HANGUL = re.compile(r"[가-힣]")
LINK = re.compile(r"\]\(([^)]*)\)")
CODE_SPAN = re.compile(r"`([^`]+)`")
NUMBER = re.compile(r"\d+(?:\.\d+)*")
SIGNED = re.compile(r"[+-]?\d[\d.]*%?")


def blocks(text: str) -> list[Block]:
    """The page as headings, fenced code, tables, HTML comments and paragraphs, in order."""
    found: list[Block] = []
    kind = ""
    for line in text.splitlines():
        if kind == "code":
            found[-1] = ("code", f"{found[-1][1]}\n{line}")
            kind = "" if line.startswith("```") else "code"
            continue
        before, kind = kind, kind_of(line)
        if kind and kind == before and kind in ("table", "paragraph"):
            found[-1] = (kind, f"{found[-1][1]}\n{line}")
        elif kind:
            found.append((kind, line))
    assert kind != "code", "a fence is not closed"
    return found


def kind_of(line: str) -> str:
    """What begins or goes on with this line, outside of fenced code; empty for an empty line."""
    starts = {"```": "code", "#": "heading", "|": "table", "<!--": "comment"}
    return next((kind for start, kind in starts.items() if line.startswith(start)), "paragraph" if line else "")


def prose(text: str) -> str:
    """What is left to read without code spans and the targets of links."""
    return CODE_SPAN.sub(" ", LINK.sub("] ", text))


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def page(name: str) -> tuple[Block, list[Block]]:
    """The line that leads to the other language, and all blocks without it."""
    title, switch, *rest = blocks((ROOT / name).read_text(encoding="utf-8"))
    return switch, [title, *rest]


ENGLISH_SWITCH, ENGLISH = page("README.md")
KOREAN_SWITCH, KOREAN = page("README.ko.md")


def pairs(*kinds: str) -> list[tuple[str, str]]:
    """Blocks of these kinds, each beside its counterpart."""
    chosen = [[text for kind, text in blocks if kind in kinds] for blocks in (ENGLISH, KOREAN)]
    assert chosen[0]
    return list(zip(*chosen, strict=True))


def test_each_leads_to_the_other():
    assert ENGLISH_SWITCH == ("paragraph", "[한국어](README.ko.md)")
    assert KOREAN_SWITCH == ("paragraph", "[English](README.md)")


def test_blocks_are_the_same_in_order():
    section = ""
    for (kind, english), (korean_kind, korean) in zip(ENGLISH, KOREAN, strict=False):
        section = english if kind == "heading" else section
        assert korean_kind == kind, f"in {section!r}: {english!r} stands beside {korean!r}"
    assert len(KOREAN) == len(ENGLISH), section


def test_headings_have_the_same_levels():
    for english, korean in pairs("heading"):
        assert korean.split()[0] == english.split()[0], f"{english!r}, {korean!r}"


def test_code_and_marks_are_the_same():
    for english, korean in pairs("code", "comment"):
        assert korean == english


def test_tables_have_the_same_shape_and_figures():
    for english, korean in pairs("table"):
        for row, korean_row in zip(cells(english), cells(korean), strict=True):
            assert len(korean_row) == len(row), korean_row
            for cell, korean_cell in zip(row, korean_row, strict=True):
                assert SIGNED.findall(korean_cell) == SIGNED.findall(cell), korean_row
                assert bool(korean_cell) == bool(cell), korean_row


def test_figures_in_prose_are_the_same():
    for english, korean in pairs("heading", "paragraph"):
        figures, korean_figures = (Counter(NUMBER.findall(prose(text))) for text in (english, korean))
        assert figures <= korean_figures, f"{dict(figures - korean_figures)} not in {korean}"
        words = Counter(SPELLED[word] for word in re.findall(r"\w+", english.lower()) if word in SPELLED)
        more = korean_figures - figures
        assert more <= words, f"{dict(more - words)} not in {english}"


def test_links_lead_to_the_same_places():
    for english, korean in pairs("paragraph", "table"):
        targets, korean_targets = (LINK.findall(text) for text in (english, korean))
        assert len(korean_targets) == len(targets), korean
        for target, korean_target in zip(targets, korean_targets, strict=True):
            if not target.startswith("#"):
                assert korean_target == target


def test_links_within_the_page_lead_to_the_same_headings():
    def led_to(page: list[Block]) -> list[int]:
        headings = [re.sub(r"[^\w -]", "", text).strip() for kind, text in page if kind == "heading"]
        anchors = [heading.lower().replace(" ", "-") for heading in headings]
        links = re.findall(r"\]\(#([^)]*)\)", "\n".join(text for kind, text in page if kind != "code"))
        return [anchors.index(link) for link in links]

    assert led_to(ENGLISH)
    assert led_to(KOREAN) == led_to(ENGLISH)


def test_names_in_code_and_bold_are_the_same():
    for english, korean in pairs("heading", "paragraph", "table"):
        names, korean_names = (set(CODE_SPAN.findall(text)) for text in (english, korean))
        assert korean_names == names, korean
        assert korean.count("**") == english.count("**"), f"bold is not the same: {korean}"


def test_prose_is_korean():
    for english, korean in pairs("heading", "paragraph"):
        if english != "# Atelier":
            assert HANGUL.search(prose(korean)), korean
            assert not re.search(r"\b[a-z]{2,}(?:,? [a-z]{2,}){3}", prose(korean)), f"English is left: {korean}"
    for _, korean in pairs("table"):
        assert HANGUL.search(korean.splitlines()[0]), korean


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("# A\nb\nc\n\nd\n", ["heading", "paragraph", "paragraph"]),
        ("a\n```\n# b\n\n| c |\n```\nd\n", ["paragraph", "code", "paragraph"]),
        ("<!-- runs -->\n```bash\nls\n```\n| a |\n|---|\n| 1 |\nb\n", ["comment", "code", "table", "paragraph"]),
    ],
)
def test_a_page_is_cut_where_markdown_cuts_it(text, kinds):
    assert [kind for kind, _ in blocks(text)] == kinds
