"""What each measure is: its name, its unit, which side is better, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atelier.evaluation.legacy import NOTES

Better = Literal["higher", "lower"]
Scope = Literal["output", "pair"]
Group = Literal["always", "learned", "legacy"]


@dataclass(frozen=True)
class Metric:
    """A measure, as reports show it.

    Attributes:
        name: the key of its values.
        label: what people read.
        about: one sentence: what it sees, its range, its source. Where it claims to rank defects, the words between
            ``Sees`` and the colon name them; the tests hold it to that.
        unit: of its values; empty where there is none.
        better: the better side; None where it describes and does not judge.
        scope: whether it is of one output, or of two.
        group: ``always``: needs no weights; ``learned``: needs a network's; ``legacy``: only to compare old reports.
        digits: after the point, for people.
    """

    name: str
    label: str
    about: str
    unit: str = ""
    better: Better | None = None
    scope: Scope = "output"
    group: Group = "always"
    digits: int = 3


VIDEO = (
    Metric(
        "sharpness_laplacian",
        "Sharpness, variance of the Laplacian",
        "Sees blur: variance of luma's Laplacian, mean over frames, from 0; noise and another size change it too, so "
        "read it with the noise and at equal sizes (Pech-Pacheco et al. 2000).",
        better="higher",
        digits=1,
    ),
    Metric(
        "sharpness_tenengrad",
        "Sharpness, Tenengrad",
        "Sees blur: mean squared Sobel gradient of luma, mean over frames, from 0; noise and another size change it "
        "too, so read it with the noise and at equal sizes (Krotkov 1987).",
        better="higher",
        digits=0,
    ),
    Metric(
        "noise_sigma",
        "Noise",
        "Sees noise: its standard deviation in luma, mean over frames, from 0; fine texture counts as noise, and blur "
        "lowers it, so read it with the sharpness (Immerkær 1996).",
        unit="levels of 255",
        better="lower",
        digits=2,
    ),
    Metric(
        "temporal_flicker",
        "Freedom from flicker",
        "Sees flicker: (255 - mean absolute difference of neighbouring frames) / 255, 0 to 1, 1 is none; motion lowers "
        "it and a still is perfect, so read it with the motion (VBench, Huang et al. 2024).",
        better="higher",
        digits=4,
    ),
    Metric(
        "warping_error",
        "Warping error",
        "Sees flicker: mean squared difference of a frame and the next one brought back along the optical flow, where "
        "the flow can be followed, × 1000, from 0; stills have none (Lai et al. 2018, with DIS flow).",
        unit="× 10⁻³",
        better="lower",
        digits=2,
    ),
    Metric(
        "lost_share",
        "Pixels whose motion is lost",
        "Share of the pixels that the optical flow cannot follow both ways (occlusion, fast motion, noise), 0 to 1; "
        "the warping error leaves them out (Sundaram et al. 2010).",
    ),
    Metric(
        "motion_magnitude",
        "Motion",
        "Mean length of the optical flow from a frame to the next, from 0; a still has none, and where pixels are lost "
        "(noise, flicker) it is guesswork (DIS flow, Kroeger et al. 2016).",
        unit="pixels a frame",
        digits=2,
    ),
    Metric(
        "motion_relative",
        "Motion, relative to the size",
        "The motion in hundredths of the frame's diagonal, from 0, which can be compared between sizes.",
        unit="% of the diagonal a frame",
        digits=2,
    ),
    Metric(
        "frozen_share",
        "Frozen frames",
        "Sees stills: share of the frames after the first that show what the one before shows: luma averaged over "
        "32 x 32 cells less than 1 level of 255 apart, 0 to 1.",
        better="lower",
    ),
    Metric(
        "duplicate_share",
        "Repeated frames",
        "Sees repeats: share of the frames after the first that show what an earlier one shows and the one before does "
        "not, by the test of the frozen frames, 0 to 1; strong compression hides some.",
        better="lower",
    ),
    Metric(
        "black_share",
        "Black frames",
        "Sees black frames: share of frames with 98 % of the pixels at 10 % of luma or less, 0 to 1 (FFmpeg's "
        "blackdetect).",
        better="lower",
    ),
    Metric(
        "lightness_mean",
        "Lightness",
        "Mean of CIE L*, 0 (black) to 100 (white).",
        digits=1,
    ),
    Metric(
        "lightness_std",
        "Contrast",
        "Standard deviation of CIE L* over a frame, mean over frames, 0 to 50.",
        digits=1,
    ),
    Metric(
        "colourfulness",
        "Colourfulness",
        "Spread and mean of the opponent colours, mean over frames: 0 is grey, above 80 very colourful (Hasler and "
        "Süsstrunk 2003).",
        digits=1,
    ),
    Metric(
        "clipped_share",
        "Clipped values",
        "Share of the values, three to a pixel, that are 0 or 255, 0 to 1: such places hold no detail.",
    ),
    Metric(
        "first_frame_psnr",
        "First frame against the picture, PSNR",
        "Sees another start: 10 log10(255² / mean squared difference) of the given picture and frame 0, from 0, 100 "
        "where they are equal; compression lowers it.",
        unit="dB",
        better="higher",
        digits=2,
    ),
    Metric(
        "first_frame_ssim",
        "First frame against the picture, SSIM",
        "Sees another start: structural similarity of the given picture's and frame 0's luma, -1 to 1 "
        "(Wang et al. 2004).",
        better="higher",
    ),
)
"""Of one video: what `frames.video_metrics` gives."""

PAIRS = (
    Metric(
        "psnr",
        "Distance, PSNR",
        "10 log10(255² / mean squared difference over all frames), from 0, 100 where all are equal.",
        unit="dB",
        scope="pair",
        digits=2,
    ),
    Metric(
        "ssim",
        "Distance, SSIM",
        "Structural similarity of luma, mean over frames, -1 to 1, 1 is equal (Wang et al. 2004).",
        scope="pair",
    ),
    Metric(
        "mean_absolute_difference",
        "Distance, mean absolute difference",
        "Over pixels, channels and frames, 0 to 255, 0 is equal.",
        unit="levels of 255",
        scope="pair",
        digits=2,
    ),
    Metric(
        "gmsd",
        "Distance, GMSD",
        "Standard deviation of the similarity of luma's gradients, mean over frames, from 0, 0 is equal: near to what "
        "people see of lost edges, blind to a shift of all levels (Xue et al. 2014).",
        scope="pair",
        digits=4,
    ),
    Metric(
        "equal_frames",
        "Equal frames",
        "Share of the frames whose values are all equal, 0 to 1; 1: the two show the same.",
        scope="pair",
    ),
)
"""Of two videos: what `pairs.pair_metrics` gives. A distance does not say which of the two is better."""

PICTURES = (
    Metric(
        "truth_psnr",
        "PSNR against the truth",
        "10 log10(255² / mean squared difference), from 0, 100 where they are equal.",
        unit="dB",
        better="higher",
        digits=2,
    ),
    Metric(
        "truth_ssim",
        "SSIM against the truth",
        "Structural similarity of luma, -1 to 1 (Wang et al. 2004).",
        better="higher",
    ),
    Metric(
        "truth_gmsd",
        "GMSD against the truth",
        "Standard deviation of the similarity of luma's gradients, from 0 (Xue et al. 2014).",
        better="lower",
        digits=4,
    ),
)
"""Of a picture with a truth: what `pictures.picture_metrics` gives."""

MATTES = (
    Metric("alpha_mad", "MAD", "Mean absolute difference of alpha, × 1000, 0 to 1000.", better="lower", digits=2),
    Metric("alpha_mse", "MSE", "Mean squared difference of alpha, × 1000, 0 to 1000.", better="lower", digits=2),
    Metric(
        "alpha_grad",
        "Grad",
        "Squared differences of alpha's gradients, summed over a frame, / 1000, from 0; grows with the size "
        "(Rhemann et al. 2009).",
        better="lower",
        digits=2,
    ),
    Metric(
        "alpha_dtssd",
        "dtSSD",
        "Root mean squared difference of alpha's changes from frame to frame, × 100, from 0 (Erofeev et al. 2015).",
        better="lower",
        digits=2,
    ),
    Metric(
        "alpha_conn",
        "Conn",
        "Differences of connectedness, summed over a frame, / 1000, from 0; grows with the size (Rhemann et al. 2009).",
        better="lower",
        digits=2,
    ),
)
"""Of a matte with a truth: what `pictures.matte_metrics` gives."""

_LEGACY_LABELS = {
    "legacy_temporal_consistency": "Old temporal consistency",
    "legacy_sharpness": "Old sharpness",
    "legacy_color_diversity": "Old colour diversity",
    "legacy_overall": "Old overall quality",
    "legacy_pseudo_fvd": "Old “FVD”, which is none",
    "legacy_clip_01": "Old CLIP score, (cosine + 1) / 2",
}

LEGACY = tuple(
    Metric(name, label, NOTES[name], group="legacy", digits=1 if name == "legacy_pseudo_fvd" else 3)
    for name, label in _LEGACY_LABELS.items()
)
"""What `legacy` gives. None has a better side: they are shown, and no verdict is drawn from them."""

METRICS = {metric.name: metric for metric in (*VIDEO, *PAIRS, *PICTURES, *MATTES, *LEGACY)}
"""All that need no weights, by name, in the order in which they are shown."""
