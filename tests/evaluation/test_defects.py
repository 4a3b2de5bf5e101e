"""What ruins a clip is ranked below the clean one by the measures that claim to see it, and what they warn of is so."""

import pytest

from atelier.evaluation.describing import METRICS, VIDEO
from atelier.evaluation.frames import video_metrics
from atelier.evaluation.legacy import legacy_metrics
from tests.evaluation import clips

DEFECTS = {
    "white noise": (lambda clip: clips.white_noise(), {"noise", "flicker", "another start"}),
    "a still of white noise": (
        lambda clip: clips.repeated(clips.white_noise()[0]),
        {"noise", "stills", "another start"},
    ),
    "a still": (lambda clip: clips.repeated(clip[0]), {"stills"}),
    "inverted flicker": (clips.inverted, {"flicker"}),
    "pumping": (clips.pumping, {"flicker"}),
    "a blurred copy": (clips.blurred, {"blur", "another start"}),
    "grain": (clips.grainy, {"noise", "flicker", "another start"}),
    "a loop": (lambda clip: clip[[*range(8)] * 3], {"repeats"}),
    "black frames": (clips.with_black, {"black frames"}),
}


def claim(metric):
    """What a measure says that it sees."""
    return metric.about.removeprefix("Sees ").split(":")[0] if metric.about.startswith("Sees ") else None


TABLE = [
    (photograph, defect, metric.name)
    for photograph in ("astronaut", "chelsea")
    for defect, (_, words) in DEFECTS.items()
    for metric in VIDEO
    if claim(metric) in words
]


@pytest.fixture(scope="module")
def measured():
    """Values by photograph and defect; worked out once each."""
    known = {}

    def values(photograph, defect=None):
        if (photograph, defect) not in known:
            clean = clips.panned(photograph)
            clip = DEFECTS[defect][0](clean) if defect else clean
            known[photograph, defect] = video_metrics(clip, clean[0]) | legacy_metrics(clip)
        return known[photograph, defect]

    return values


@pytest.mark.parametrize(("photograph", "defect", "name"), TABLE)
def test_a_defect_is_ranked_below_the_clean_clip(measured, photograph, defect, name):
    clean, spoilt = measured(photograph)[name], measured(photograph, defect)[name]
    worse = clean - spoilt if METRICS[name].better == "higher" else spoilt - clean
    assert worse > 0.01 * max(abs(clean), abs(spoilt))


def test_every_measure_that_judges_makes_a_claim_that_the_table_holds_it_to():
    judging = {metric.name for metric in VIDEO if metric.better}
    assert {name for _, _, name in TABLE} == judging
    assert {metric.name for metric in VIDEO if claim(metric)} == judging
    assert {defect for _, defect, _ in TABLE} == set(DEFECTS)


def test_the_warnings_of_the_measures_are_so(measured):
    """Each of these prefers a defect that it does not claim to see: why none of them is enough alone."""
    clean, noise, still, blur, inverted = (
        measured("astronaut", defect)
        for defect in (None, "white noise", "a still", "a blurred copy", "inverted flicker")
    )
    assert noise["sharpness_laplacian"] > clean["sharpness_laplacian"]
    assert noise["sharpness_tenengrad"] > clean["sharpness_tenengrad"]
    assert blur["noise_sigma"] < clean["noise_sigma"]
    assert still["temporal_flicker"] == 1 > clean["temporal_flicker"]
    assert still["warping_error"] == 0 < clean["warping_error"]
    assert still["motion_magnitude"] == 0 < clean["motion_magnitude"]
    assert inverted["motion_magnitude"] > 5 * clean["motion_magnitude"]
    assert inverted["lost_share"] > 0.5 > 0.1 > clean["lost_share"]


def test_the_old_overall_quality_ranks_a_still_of_noise_first(measured):
    overall = {defect: measured("astronaut", defect)["legacy_overall"] for defect in (None, *DEFECTS)}
    assert max(overall, key=overall.get) == "a still of white noise"
    assert overall["white noise"] > overall[None]
