"""What an evaluation found, to be read: tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perf import report
from training.methods import BASELINES, NETWORK

_GROUPS = {"pages": "Pages", "photographs": "Photographs"}
_CATEGORY = {"pages": "category", "photographs": "mask"}


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read.

    Args:
        document: what ``training.evaluate`` found.
    """
    name = document["checkpoint"]["name"]
    lines = [f"# Quality: `{name}`", *_how(document)]
    for group, title in _GROUPS.items():
        found = [row for row in document["rows"] if row["group"] == group and row["kind"] != "photograph"]
        found.sort(key=lambda row: row["kind"] == "group")
        lines += [f"## {title}", _psnr(document, found, _CATEGORY[group]), _strict(found[-1])]
        lines += [_others(document, found, _CATEGORY[group])]
    photographs = [row for row in document["rows"] if row["kind"] == "photograph"]
    lines += ["## Photograph by photograph", _psnr(document, photographs, "photograph"), _credits(document)]
    lines += ["## The network's other forms", *_forms(document), "## Goals", _goals(document)]
    lines += [f"![Input, hole, what each method made of it, and the truth]({name}.png)"]
    return "\n\n".join(lines) + "\n"


def _how(document: Mapping[str, Any]) -> list[str]:
    settings, checkpoint = document["settings"], document["checkpoint"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    commit, digest = document["commit"], checkpoint["sha256"][:12]
    side = f"{settings['side']} × {settings['side']}"
    pages = sum(row["pictures"] for row in document["rows"] if (row["kind"], row["group"]) == ("group", "pages"))
    return [
        f"`python -m training.evaluate`, commit {commit}, checkpoint {digest}. {versions}.",
        f"{pages} pages of {side}, {settings['pages']} of every category, of a series that training does not draw "
        f"from (seed {settings['series']}), lettered in {len(settings['fonts'])} fonts that it does not use; and the "
        f"middle of {len(document['photographs'])} photographs, {side} at most, with {settings['masks']} mask(s) of "
        "every kind each. Training sees no photographs at all; the category *photograph* is drawn.",
        "All errors are inside the hole: no method sees what is below it, and none changes a pixel outside. PSNR is "
        f"the mean of the pictures', in dB; one picture counts for {settings['cap_db']:.0f} dB at most. Telea and "
        f"Navier-Stokes are OpenCV's, radius {settings['radius']}. *Better by* is the mean difference, picture by "
        "picture, to the one of the two that is better in that row, which is named behind it; in brackets its 95 % "
        f"interval by {settings['resamples']} bootstrap draws, of whole pages or photographs. *Won* is the share of "
        "pictures where the network has a higher PSNR than both. Pooled PSNR is that of the mean squared error of all "
        "holes together: large holes and bad fills weigh more.",
    ]


def _psnr(document: Mapping[str, Any], found: Sequence[Mapping[str, Any]], first: str) -> str:
    """Mean PSNR, and the comparison with the better baseline."""
    titles, shown = document["methods"], (*BASELINES, NETWORK)
    headings = [first, "pictures", "hole", *(titles[name] for name in shown), "better by", "than", "won"]
    rows = []
    for row in found:
        scores = [f"{row['scores'][name]['psnr']:.2f}" for name in shown]
        ends = "" if row["low"] is None else f" ({_signed(row['low'])} – {_signed(row['high'])})"
        counted = [row["category"], str(row["pictures"]), f"{row['hole']:.1%}"]
        rows.append([*counted, *scores, f"{_signed(row['gain'])}{ends}", titles[row["baseline"]], f"{row['won']:.0%}"])
    return report.table(headings, rows)


def _strict(row: Mapping[str, Any]) -> str:
    return (
        f"With the better baseline of every {_CATEGORY[row['group']]} in the place of the one that is better over all: "
        f"{_signed(row['gain_by_category'])} dB."
    )


def _others(document: Mapping[str, Any], found: Sequence[Mapping[str, Any]], first: str) -> str:
    """Pooled PSNR and SSIM."""
    titles = [document["methods"][name] for name in (*BASELINES, NETWORK)]
    headings = [first, *(f"pooled PSNR, {title}" for title in titles), *(f"SSIM, {title}" for title in titles)]
    rows = []
    for row in found:
        scores = [row["scores"][name] for name in (*BASELINES, NETWORK)]
        pooled = [f"{score['pooled_psnr']:.2f}" if score["pooled_psnr"] is not None else "exact" for score in scores]
        rows.append([row["category"], *pooled, *(f"{score['ssim']:.3f}" for score in scores)])
    return report.table(headings, rows)


def _credits(document: Mapping[str, Any]) -> str:
    credits = "; ".join(f"{name}: {credit}" for name, credit in document["photographs"].items())
    return f"From scikit-image. {credits}."


def _forms(document: Mapping[str, Any]) -> list[str]:
    rows = []
    for form in document["forms"]:
        gain, worst, best = (_signed(form[name], 3) for name in ("gain", "worst", "best"))
        title = document["methods"][form["method"]]
        rows.append([title, form["group"], str(form["pictures"]), f"{form['psnr']:.2f}", f"{gain} ({worst} – {best})"])
    headings = ["", "on", "pictures", "PSNR", "difference on the same pictures: mean (worst – best)"]
    slow = document["settings"]["slow"]
    return [
        "The figures above are of the checkpoint in PyTorch, in float32, which sees the whole picture at once. Here "
        "are other forms of it, beside that one. On a CPU, ONNX Runtime computes a half-precision graph in float32, "
        "with weights that were rounded to half precision; PyTorch computes it in half precision, so slowly that it "
        f"was done for {slow} picture(s) of every category.",
        report.table(headings, rows),
    ]


def _goals(document: Mapping[str, Any]) -> str:
    rows = [[g["goal"], f"{_signed(g['found'])} dB", "yes" if g["holds"] else "NO"] for g in document["goals"]]
    return report.table(["goal", "found", "reached"], rows)


def _signed(value: float, digits: int = 2) -> str:
    """With its sign; what is rounded to nothing gets a plus."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"
