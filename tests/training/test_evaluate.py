"""The evaluation: its parts, and the whole command once, on few and small pictures with the bundled network."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atelier.inpainting import load_generator
from export.lama import synthetic
from training import evaluate, findings, fonts, masks, methods, pages, quality, settings, sheet, subjects
from training.methods import BASELINES, HALF, NAVIER_STOKES, NETWORK, PAGE, TELEA, Method
from training.subjects import EvaluationError

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "weights" / "lama-mini"
ARTEFACT = ROOT / "model_repository" / "lama" / "1" / "model.onnx"

GAIN_ON_FEW_PAGES = 0.5
"""dB of pooled PSNR over the better baseline that the network must have on few and small pages: less than it has on
many, so that a picture more or less does not decide, and far more than one that is broken or badly exported would."""

LONGEST = 1200
"""Seconds that an evaluation may take; some three minutes of a core, of which half precision takes a quarter."""
pytestmark = pytest.mark.timeout(2 * LONGEST)


def _evaluate(*arguments):
    command = [sys.executable, "-m", "training.evaluate", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, check=False)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    output = tmp_path_factory.mktemp("results")
    return _evaluate("--quick", "--threads", "1", "--checkpoint", CHECKPOINT, "--output", output), output


@pytest.fixture(scope="module")
def document(outcome):
    run, output = outcome
    file = output / "lama-mini.json"
    assert file.is_file(), run.stderr
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trained():
    return settings.read(ROOT / "training" / "settings.yaml")


@pytest.fixture(scope="module")
def held_out(trained):
    return fonts.find(trained.fonts.held_out)


@pytest.fixture(scope="module")
def random_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "lama-synthetic"
    synthetic.write("tiny", folder, seed=0)
    return folder


@pytest.fixture(scope="module")
def network(random_checkpoint):
    return methods.find(random_checkpoint, [], threads=1)


def _hole(side=64):
    mask = np.zeros((side, side), np.uint8)
    mask[20:40, 24:36] = 255
    return mask


def _picture(side=64):
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_the_network_fills_pages_better_than_what_is_not_taught(document):
    (row,) = (row for row in document["rows"] if (row["kind"], row["group"]) == ("group", "pages"))
    pooled = {name: scores["pooled_psnr"] for name, scores in row["scores"].items()}
    assert pooled[NETWORK] - max(pooled[name] for name in BASELINES) >= GAIN_ON_FEW_PAGES


def test_all_categories_masks_and_photographs_are_there(document):
    counts = {(row["kind"], row["group"], row["category"]): row["pictures"] for row in document["rows"]}
    photographs = len(subjects.PHOTOGRAPHS)
    expected = {("category", "pages", name): 4 for name in pages.CATEGORIES}
    expected |= {("category", "photographs", kind): photographs for kind in masks.KINDS}
    expected |= {("photograph", "photographs", name): len(masks.KINDS) for name in subjects.PHOTOGRAPHS}
    expected["group", "pages", "all"] = 4 * len(pages.CATEGORIES)
    expected["group", "photographs", "all"] = photographs * len(masks.KINDS)
    assert counts == expected
    assert len(document["pictures"]) == sum(n for (kind, _, _), n in counts.items() if kind == "group")


def test_the_rows_are_those_of_the_pictures(document):
    outcomes = [quality.Outcome(**picture) for picture in document["pictures"]]
    again = evaluate.rounded(evaluate.rows(outcomes, document["settings"]["training_seed"]))
    assert again == document["rows"]
    (row,) = (row for row in document["rows"] if (row["kind"], row["group"]) == ("group", "pages"))
    errors = [picture["mse"][TELEA] for picture in document["pictures"] if picture["group"] == "pages"]
    by_hand = np.minimum(10 * np.log10(255**2 / np.maximum(errors, 1e-9)), 60)
    assert row["scores"][TELEA]["psnr"] == pytest.approx(by_hand.mean(), abs=1e-5)
    assert row["baseline"] in BASELINES
    assert row["low"] < row["gain"] < row["high"]


def test_every_form_of_the_network_is_the_network(document):
    forms = {(form["method"], form["group"]): form for form in document["forms"]}
    assert {(name, group) for name in (PAGE, HALF) for group in ("pages", "photographs")} <= set(forms)
    assert forms[HALF, "pages"]["pictures"] == len(pages.CATEGORIES)
    for (method, _), form in forms.items():
        assert form["worst"] <= form["gain"] <= form["best"]
        if method != PAGE:
            assert abs(form["gain"]) <= evaluate.LOSS_OF_A_FORM


def test_the_status_says_whether_the_goals_were_reached(outcome, document):
    run, _ = outcome
    missed = [goal["goal"] for goal in document["goals"] if not goal["holds"]]
    assert run.returncode == bool(missed)
    lines = run.stderr.strip().splitlines()
    assert all(goal in lines[-1] for goal in missed)
    assert [goal["goal"] for goal in document["goals"]][:2] == [
        "3.0 dB over the better baseline on pages",
        "0.0 dB over the better baseline on photographs",
    ]


def test_the_result_says_what_it_is_of_and_not_whose_machine_it_was(outcome, document, trained):
    assert document["benchmark"] == "quality"
    assert document["checkpoint"]["name"] == "lama-mini"
    assert re.fullmatch(r"[0-9a-f]{64}", document["checkpoint"]["sha256"])
    assert document["settings"]["series"] == trained.seed + 2_000_000
    assert document["settings"]["fonts"] == list(trained.fonts.held_out)
    assert document["versions"]["numpy"] == np.__version__
    for file in outcome[1].glob("lama-mini.[jm]*"):
        text = file.read_text(encoding="utf-8")
        assert str(ROOT) not in text
        assert str(Path.home()) not in text
        assert socket.gethostname() not in text


def test_the_markdown_says_the_same(outcome, document):
    text = (outcome[1] / "lama-mini.md").read_text(encoding="utf-8")
    assert text == findings.markdown(document)
    assert text.startswith("# Quality: `lama-mini`\n")
    for row in document["rows"]:
        gain = re.escape(f"{round(row['gain'], 2) + 0.0:+.2f}")
        assert re.search(rf"^\| {row['category']} \| {row['pictures']} \|.*\| {gain}", text, re.MULTILINE)
    for credit in document["photographs"].values():
        assert credit in text


def test_the_sheet_shows_every_category_and_three_photographs(outcome):
    file = outcome[1] / "lama-mini.png"
    assert file.stat().st_size <= 1_500_000
    with Image.open(file) as picture:
        assert picture.width == 1400
        rows = (picture.height - 30) / (sheet.PANEL + 28)
    assert rows == len(pages.CATEGORIES) + 3


def test_pages_are_not_of_the_series_that_is_trained_on(trained, held_out):
    first = list(subjects.page_cases(trained.seed, 1, 64, held_out))
    assert [case.category for case in first] == list(pages.CATEGORIES)
    again = [case for case in subjects.page_cases(trained.seed, 2, 64, held_out) if case.number == 0]
    for case, same in zip(first, again, strict=True):
        assert np.array_equal(case.picture, same.picture)
    trained_on = pages.draw(trained.seed, 0, 64, 64, held_out, first[0].category)
    assert not np.array_equal(trained_on.picture, first[0].picture)


def test_photographs_are_spoiled_in_the_hole_alone(trained, held_out):
    cases = list(subjects.photograph_cases(trained.seed, 2, 64, held_out))
    assert len(cases) == len(subjects.PHOTOGRAPHS) * len(masks.KINDS) * 2
    for case in cases:
        assert case.picture.shape == case.truth.shape == (64, 64, 3)
        known = case.mask == 0
        assert np.array_equal(case.picture[known], case.truth[known])
        assert (case.picture[~known] == 255).all()
    first, second = cases[:2]
    assert (first.source, first.category) == (second.source, second.category)
    assert not np.array_equal(first.mask, second.mask)


@pytest.mark.parametrize("name", subjects.PHOTOGRAPHS)
def test_photographs_come_with_the_package(name):
    pixels = subjects.photograph(name, 512)
    assert pixels.dtype == np.uint8
    assert all(side % 8 == 0 and 256 <= side <= 512 for side in pixels.shape[:2])
    assert pixels.shape[2] == 3


def test_a_photograph_is_not_downloaded(tmp_path):
    with pytest.raises(EvaluationError, match=r"without rocket\.jpg, and nothing is downloaded"):
        subjects.photograph("rocket", 512, tmp_path)


@pytest.mark.parametrize(("chosen", "expected"), [(1, [0]), (2, [0, 6]), (3, [0, 4, 8]), (12, list(range(12)))])
def test_slow_methods_are_tried_on_pictures_from_all_over(chosen, expected):
    nothing = np.zeros((0, 0, 3), np.uint8)
    cases = [subjects.Case("g", "c", "s", number, 12, nothing, nothing, nothing) for number in range(12)]
    assert [case.number for case in cases if case.is_among(chosen)] == expected
    assert all(case.is_among(99) for case in cases)


def test_no_method_sees_what_is_below_the_hole():
    picture, mask = _picture(), _hole()
    shown = methods.paint(Method("copy", lambda image, hole: image), picture, mask)
    assert len(np.unique(shown[mask > 0])) == 1
    assert np.array_equal(shown[mask == 0], picture[mask == 0])


def test_a_method_that_changes_known_pixels_is_refused():
    with pytest.raises(EvaluationError, match="Negative changed pixels outside the hole"):
        methods.paint(Method("Negative", lambda image, hole: 255 - image), _picture(), _hole())


@pytest.mark.parametrize("name", [TELEA, NAVIER_STOKES])
def test_the_baselines_continue_what_is_flat(network, name):
    picture = np.full((64, 64, 3), (10, 120, 250), np.uint8)
    spoiled = picture.copy()
    spoiled[_hole() > 0] = 0
    painted = methods.paint(network[name], spoiled, _hole())
    assert np.abs(painted.astype(int) - picture).max() <= 4  # OpenCV's Telea loses a little at every step


def test_the_network_is_the_checkpoints(network, random_checkpoint):
    picture, mask = _picture(), _hole()
    painted = methods.paint(network[NETWORK], picture, mask)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    hole = torch.from_numpy(mask > 0).float()[None, None]
    with torch.inference_mode():
        levels = (load_generator(random_checkpoint).predict(image, hole) * 255).clamp(0, 255).to(torch.uint8)
    expected = np.where(mask[..., None] > 0, levels[0].permute(1, 2, 0).numpy(), picture)
    assert np.array_equal(painted, expected)


def test_half_precision_rounds(network):
    painted, rounded = (methods.paint(network[name], _picture(), _hole()).astype(int) for name in (NETWORK, HALF))
    assert 0 < np.abs(painted - rounded).max() <= 6


def test_an_artefact_of_another_checkpoint_is_refused(tmp_path, random_checkpoint):
    artefact = tmp_path / "model.onnx"
    with pytest.raises(EvaluationError, match=r"model\.onnx\.json is missing"):
        methods.describe(artefact, random_checkpoint)
    artefact.write_bytes(b"")
    sidecar = {"precision": "fp16", "checkpoint": {"name": "other", "sha256": "0" * 64}}
    artefact.with_name("model.onnx.json").write_text(json.dumps(sidecar), encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"model\.onnx is of other, another checkpoint"):
        methods.describe(artefact, random_checkpoint)
    assert evaluate.bundled(random_checkpoint) == []


def test_the_bundled_artefact_is_judged_too_where_it_is_of_the_checkpoint():
    described = json.loads(ARTEFACT.with_name("model.onnx.json").read_text(encoding="utf-8"))
    checkpoint = ROOT / "weights" / described["checkpoint"]["name"]
    assert evaluate.bundled(checkpoint) == [ARTEFACT]
    found = methods.find(checkpoint, [ARTEFACT], threads=1)
    pair = (methods.paint(found[name], _picture(), _hole()).astype(int) for name in (NETWORK, "onnx_fp32"))
    assert np.abs(np.subtract(*pair)).max() <= 1
    with pytest.raises(EvaluationError, match="Two artefacts are fp32"):
        methods.find(checkpoint, [ARTEFACT, ARTEFACT], threads=1)


def test_what_is_missing_is_said_in_one_line(tmp_path):
    run = _evaluate("--quick", "--checkpoint", tmp_path / "lama", "--output", tmp_path)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines() == ["evaluate: There is no checkpoint lama."]
    assert not list(tmp_path.iterdir())


def test_the_sheet_shows_where_most_of_the_hole_is():
    mask = np.zeros((100, 120), np.uint8)
    mask[5, 5] = mask[70:90, 80:110] = 1
    rows, columns = sheet.window(mask, 40)
    assert mask[rows, columns].shape == (40, 40)
    assert mask[rows, columns].sum() == 20 * 30
    assert sheet.window(mask, 400) == (slice(0, 100), slice(0, 120))


def test_a_sheet_that_is_too_large_gives_up_levels_but_not_white(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (800, 900, 3), dtype=np.uint8)
    noise[:100] = 255
    sheet.save(Image.fromarray(noise), tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size <= sheet.LIMIT
    with Image.open(tmp_path / "noise.png") as opened:
        saved = np.asarray(opened).astype(int)
    assert np.abs(saved - noise).max() <= 4
    assert (saved[:100] == 255).all()
