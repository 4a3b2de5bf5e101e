"""Analyzer and extractor with tiny random networks: that auto takes them, and what it does with their answers."""

import numpy as np
import pytest

from atelier.compositing import BackgroundAnalyzer, ObjectExtractor
from atelier.compositing.jobs import AnalysisJob, ExtractionJob
from atelier.compositing.scene import from_json, to_json
from atelier.compositing.settings import AnalyzerSettings, ExtractorSettings
from export.compositing.synthetic import write_birefnet, write_qwen2_vl, write_sam2
from tests.compositing.pictures import meadow, vase


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, write in {"qwen": write_qwen2_vl, "birefnet": write_birefnet, "sam2": write_sam2}.items():
        write("tiny", folder / name, 0)
    return folder


def test_the_analyzer(root):
    stage = BackgroundAnalyzer(
        AnalyzerSettings(checkpoint="qwen", device="cpu", max_new_tokens=16, image_tokens=64), root=root
    )
    assert stage.loaded == {}
    job = AnalysisJob(meadow(64, 96), language="ko", seed=1)
    scene = stage(job)
    assert scene.report.mode == "neural"
    assert scene.report.facts["mode_asked"] == "auto"
    assert stage.loaded
    assert from_json(to_json(scene)) == scene
    assert stage(job, "classical").report.mode == "classical"


def extractor(root, **changes):
    return ObjectExtractor(ExtractorSettings(birefnet="birefnet", device="cpu", **changes), root=root)


def extract(stage, **job):
    """The report on an object. These weights are random, but the same each time, and find one."""
    return stage(ExtractionJob(meadow(64, 96), **job)).report


def test_the_extractor(root):
    stage = extractor(root, sam2="sam2")
    reports = [extract(stage), extract(stage, box=(10.0, 10.0, 80.0, 60.0)), extract(stage, point=(40.0, 30.0))]
    assert stage.loaded
    assert [report.mode for report in reports] == ["neural"] * 3
    given = stage(ExtractionJob(vase()))
    assert given.report.mode == "given"
    np.testing.assert_array_equal(given.object, vase())


def test_without_sam2_the_extractor_is_neural_still(root):
    report = extract(extractor(root, sam2="not-there"), box=(10.0, 10.0, 80.0, 60.0))
    assert report.mode == "neural"
    assert any("SAM 2" in warning for warning in report.warnings)
