"""Upstream's outputs, on its own checkpoints' layout."""

import numpy as np
import pytest

from atelier.matting import MattingSettings
from atelier.matting.geometry import plan_geometry, prepare, threshold
from tests.golden.gvm.cases import CASES, assert_golden, golden


@pytest.mark.parametrize("name", CASES)
def test_the_alpha_is_upstream_s(pipelines, name):
    case = golden(name)
    for ensemble, expected in case.expected.items():
        settings = MattingSettings(**case.settings, ensemble_size=ensemble)
        alpha = pipelines(name)(case.frames, settings, noise=case.noise, thresholds=False)
        assert alpha.dtype == np.float32
        assert alpha.shape == (case.facts["frames_out"], *case.frames.shape[1:3])
        assert_golden(alpha, expected)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["padded_hw"]])
def test_sizes_and_padding_are_upstream_s(name):
    facts, params = CASES[name], CASES[name]["params"]
    geometry = plan_geometry(tuple(golden(name).frames.shape[1:3]), params["size"], params["max_resolution"])
    top, left, bottom, right = facts["pad_tlbr"]
    assert geometry.padded == tuple(facts["padded_hw"])
    assert geometry.padding == (top, left)
    assert geometry.padded == (geometry.resized[0] + top + bottom, geometry.resized[1] + left + right)


def test_every_step_inside_a_batch_is_upstream_s(pipelines):
    case = golden("a01_readme")
    networks = pipelines("a01_readme").networks
    geometry = plan_geometry((96, 128), 96, 128)
    prepared = prepare(list(case.frames[:8]), geometry)
    np.testing.assert_allclose(prepared[:2] * 0.5 + 0.5, case.inside["b0_input"], atol=1e-6)
    latents = networks.encode(prepared)
    np.testing.assert_allclose(latents, case.inside["b0_rgb_latent"], atol=1e-4)
    sample = np.concatenate([np.zeros_like(latents), latents], axis=1)[None]
    predicted = networks.predict(sample, 999.0)[0]
    np.testing.assert_allclose(predicted, case.inside["b0_latent_out"], atol=1e-3)
    mean = case.inside["b0_decoded_mean"]
    np.testing.assert_allclose(networks.decode(predicted)[:2], np.clip(mean * 0.5 + 0.5, 0, 1), atol=1e-3)


def test_thresholds_are_upstream_s(pipelines):
    case = golden("a02_batch4")
    alpha = pipelines("a02_batch4")(case.frames, MattingSettings(**case.settings))
    plain = pipelines("a02_batch4")(case.frames, MattingSettings(**case.settings), thresholds=False)
    np.testing.assert_array_equal(alpha, threshold(plain))
    assert (alpha == 1).mean() == pytest.approx(case.facts["frac1"], abs=1e-3)
    assert (alpha == 0).mean() == pytest.approx(case.facts["frac0"], abs=1e-3)
