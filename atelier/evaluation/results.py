"""What was measured as one object, as JSON, as tables and as a page; and first of all: was the adapter applied?"""

from __future__ import annotations

import csv
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from atelier.errors import InvalidInput
from atelier.evaluation.describing import Metric
from atelier.evaluation.legacy import NOTES, THRESHOLDS
from atelier.evaluation.page import write_page
from atelier.evaluation.statistics import adjust, compare
from atelier.evaluation.study import Variant, read_json, write_json

RESULTS = "results.json"
VALUES, COMPARISONS = "results.csv", "comparisons.csv"
VERSION = 1
LIBRARIES = ("atelier", "numpy", "scipy", "scikit-image", "opencv-python-headless", "av", "torch", "transformers")


def judge_application(
    variant: Variant, outputs: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, float]], seeds: Sequence[float]
) -> dict[str, Any]:
    """Whether a variant is another thing than the base at all.

    Args:
        variant: not the base.
        outputs: of its items; where they were generated, ``facts`` has the adapters' reports.
        pairs: of its items: distances to the base.
        seeds: mean absolute differences of base videos that differ in their seed alone.

    Returns:
        An entry of ``applied``: false where any of its videos equals the base's, or a report says that an adapter was
        not applied as a whole or has no effect.
    """
    equal = sum(pair["equal_frames"] == 1 for pair in pairs)
    reports = [report for output in outputs for report in output.get("facts", {}).get("adapters", ())]
    faults = sorted({fault for report in reports if (fault := _fault(report))})
    if variant.loras and len(reports) < len(variant.loras) * len(outputs):
        faults.append("an answer has no report of an adapter")
    of = len(pairs)
    words = []
    if equal:
        share = f"All {of}" if equal == of else f"{equal} of {of}"
        words.append(f"{share} videos of “{variant.label}” equal the base's, frame by frame: nothing was changed.")
    words += [f"{fault[0].upper()}{fault[1:]}." for fault in faults]
    if not words:
        words.append(_distance(variant, reports, pairs, seeds))
    return {
        "variant": variant.id,
        "applied": not equal and not faults,
        "equal": equal,
        "of": of,
        "sentence": " ".join(words),
    }


def _fault(report: Mapping[str, Any]) -> str:
    """What is wrong with an adapter's report, or nothing."""
    name, done, expected = (report.get(key) for key in ("name", "modules_applied", "modules_expected"))
    if not expected or done != expected:
        return f"the adapter {name} was applied to {done} of {expected} layers"
    if not report.get("scale"):
        return f"the adapter {name} was used at scale 0"
    return "" if report.get("effect") else f"one pass with the adapter {name} gives what one without it gives"


def _distance(
    variant: Variant, reports: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, float]], seeds: Sequence[float]
) -> str:
    layers = {report["name"]: report["modules_applied"] for report in reports}
    shown = "; ".join(f"{name}: {count} of {count} layers in every video" for name, count in layers.items())
    away = median(pair["mean_absolute_difference"] for pair in pairs)
    text = f"“{variant.label}” is not the base: the two videos of a pair differ by {away:.2f} levels of 255 (median)"
    if seeds:
        text += f"; another seed alone makes {median(seeds):.2f}"
    return f"{text}. {shown}." if shown else f"{text}."


def compare_variants(
    variants: Sequence[Variant],
    items: Sequence[Mapping[str, Any]],
    metrics: Sequence[Metric],
) -> list[dict[str, Any]]:
    """Paired differences of every variant and metric of one output, old ones left out.

    P values are corrected over the metrics of a variant that have a better side, and over those that describe, each by
    itself: what only describes takes no power from what judges.

    Args:
        variants: the base first.
        items: of ``results.json``.
        metrics: that there are.

    Returns:
        Entries of ``comparisons``.
    """
    base, found = variants[0].id, []
    told = {item["id"]: item["prompt"] for item in items if item.get("prompt")}
    groups = told if len(told) == len(items) else None
    judged = [metric for metric in metrics if metric.scope == "output" and metric.group != "legacy"]
    for variant in variants[1:]:
        for family in (True, False):
            chosen = [metric for metric in judged if (metric.better is not None) == family]
            differences = {m.name: _differences(items, m.name, base, variant.id) for m in chosen}
            raw = {m.name: compare(differences[m.name], m.better, groups) for m in chosen if differences[m.name]}
            for name, comparison in adjust(raw).items():
                found.append({"variant": variant.id, "metric": name, **comparison.as_dict()})
    order = {metric.name: place for place, metric in enumerate(metrics)}
    return sorted(found, key=lambda entry: ([v.id for v in variants].index(entry["variant"]), order[entry["metric"]]))


def _differences(items: Sequence[Mapping[str, Any]], metric: str, base: str, variant: str) -> dict[str, float | None]:
    """Variant minus base by item; empty where no item has the metric."""
    found: dict[str, float | None] = {}
    for item in items:
        one, other = (item["outputs"][key]["metrics"].get(metric) for key in (base, variant))
        found[item["id"]] = None if one is None or other is None else other - one
    return found if any(value is not None for value in found.values()) else {}


def assemble(
    *,
    kind: str,
    title: str,
    created: str,
    variants: Sequence[Variant],
    prompts: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    metrics: Sequence[Metric],
    applied: Sequence[Mapping[str, Any]],
    sets: Sequence[Mapping[str, Any]],
    missing: Sequence[str],
    reproduce: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole as it is written to ``results.json``."""
    old = [metric.name for metric in metrics if metric.group == "legacy"]
    return {
        "version": VERSION,
        "kind": kind,
        "title": title,
        "created": created,
        "variants": [variant.as_dict() for variant in variants],
        "prompts": list(prompts),
        "items": list(items),
        "metrics": [asdict(metric) for metric in metrics],
        "applied": list(applied),
        "comparisons": compare_variants(variants, items, metrics),
        "sets": list(sets),
        "missing": list(missing),
        "legacy": {"notes": {name: NOTES[name] for name in old}, "thresholds": THRESHOLDS if old else ""},
        "reproduce": {**reproduce, "versions": versions()},
    }


def versions() -> dict[str, str]:
    """Of Python and of the libraries that compute, where they are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_results(folder: Path, results: Mapping[str, Any]) -> Path:
    """``results.json``, the two tables, and the page.

    Returns:
        The page.
    """
    write_json(folder / RESULTS, results)
    return write_report(folder, results)


def write_report(folder: Path, results: Mapping[str, Any] | None = None) -> Path:
    """The tables and the page again, from ``results.json`` alone; nothing is computed.

    Returns:
        The page.

    Raises:
        InvalidInput: there are no results, or they are not of this version.
    """
    if results is None:
        results = read_json(folder / RESULTS)
        if not isinstance(results, dict) or results.get("version") != VERSION:
            raise InvalidInput(f"{folder / RESULTS} is not of version {VERSION}; measure again.")
    names = [metric["name"] for metric in results["metrics"] if metric["scope"] == "output"]
    pairs = [metric["name"] for metric in results["metrics"] if metric["scope"] == "pair"]
    _write_table(folder / VALUES, _value_rows(results, names, pairs))
    _write_table(folder / COMPARISONS, _comparison_rows(results))
    return write_page(folder, results)


def _value_rows(results: Mapping[str, Any], names: Sequence[str], pairs: Sequence[str]) -> Iterable[Sequence[Any]]:
    fixed = ("item", "prompt", "seed", "variant", "file", "sha256", "width", "height", "frames", "fps")
    yield [*fixed, *names, *pairs]
    texts = {prompt["id"]: prompt["text"] for prompt in results["prompts"]}
    for item in results["items"]:
        for variant, output in item["outputs"].items():
            distances = item["pairs"].get(variant, {})
            facts = [output.get(name) for name in fixed[4:]]
            head = [item["id"], texts.get(item["prompt"], ""), item["seed"], variant]
            values = [output["metrics"].get(name) for name in names]
            yield [*head, *facts, *values, *(distances.get(name) for name in pairs)]


def _comparison_rows(results: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    columns = (
        "variant",
        "metric",
        "verdict",
        "n",
        "median",
        "mean",
        "low",
        "high",
        "test",
        "p",
        "p_adjusted",
        "sentence",
    )
    yield columns
    for entry in results["comparisons"]:
        yield [entry[name] for name in columns]


def _write_table(file: Path, rows: Iterable[Sequence[Any]]) -> None:
    # With a mark at its start, or spreadsheets take Korean for something else.
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows(["" if value is None else value for value in row] for row in rows)
