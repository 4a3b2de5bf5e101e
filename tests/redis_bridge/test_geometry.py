"""The old worker's geometry, as its upstream wrote it down, and the producer that the other tests use."""

import numpy as np
import pytest

from clients.redis_bridge.geometry import restore
from clients.redis_bridge.producer import fit, soften
from tests.conftest import ROOT

CASES = sorted((ROOT / "tests" / "golden" / "legacy_geometry").glob("*.npz"))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_padded_page_comes_back_as_the_old_worker_restored_it(file):
    case = np.load(file)
    out = np.empty(case["restored"].shape, np.uint8)
    padding = tuple(int(margin) for margin in case["padding_top_right_bottom_left"])
    restore(case["padded"], padding, case["restored"].shape[:2], out)
    assert (out[..., ::-1] == case["restored"]).all()  # written down before the last step, RGB to BGR


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_tests_producer_pads_as_the_old_one(file):
    case = np.load(file)
    padded, mask, padding = fit(case["image"], case["mask"], tuple(case["target"]))
    assert padding == tuple(case["padding_top_right_bottom_left"])
    assert (padded == case["padded"]).all()
    assert (mask == case["padded_mask"]).all()


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_tests_producer_softens_as_the_old_one(file):
    case = np.load(file)
    assert (soften(np.ascontiguousarray(case["image"][..., ::-1])) == case["bilateral_bgr"]).all()


def test_five_cases_are_there():
    assert len(CASES) == 5
