"""What each measure with weights is, in the words of `atelier.evaluation.describing`."""

from __future__ import annotations

from atelier.evaluation.describing import Metric

CLIP = (
    Metric(
        "clip_score",
        "CLIP score",
        "How well frames and prompt agree: cosine × 100, mean over 8 frames, -100 to 100, as a rule 20 to 35; of the "
        "central square and the first 77 tokens, English only (Radford et al. 2021).",
        better="higher",
        group="learned",
        digits=2,
    ),
    Metric(
        "clip_consistency",
        "CLIP consistency",
        "How alike neighbouring frames are in what they show: mean cosine, -1 to 1; a still has 1, so read it with the "
        "motion (VBench, Huang et al. 2024).",
        better="higher",
        group="learned",
        digits=4,
    ),
)
"""What `clip.Clip` gives."""

MULTILINGUAL = (
    Metric(
        "clip_score_multilingual",
        "CLIP score, multilingual",
        "As the CLIP score, with a text tower for some 50 languages, Korean among them; its "
        "values are not comparable with the English tower's (Reimers and Gurevych 2020).",
        better="higher",
        group="learned",
        digits=2,
    ),
)
"""What `clip.MultilingualText` gives."""

DINO = (
    Metric(
        "dino_consistency",
        "DINO consistency",
        "How alike neighbouring frames are in their subject: mean cosine, -1 to 1; a still has 1, so read it with the "
        "motion (VBench, Huang et al. 2024).",
        better="higher",
        group="learned",
        digits=4,
    ),
)
"""What `dino.Dino` gives."""

LPIPS = (
    Metric(
        "lpips",
        "Distance, LPIPS",
        "How different people find two pictures, mean over up to 16 frames, from 0, 0 is equal (Zhang et al. 2018).",
        scope="pair",
        group="learned",
        digits=4,
    ),
)
"""What `lpips.Lpips` gives. A distance does not say which of the two is better."""

BY_FOLDER = {"clip": CLIP, "clip-multilingual": MULTILINGUAL, "dino": DINO, "lpips": LPIPS}
"""By the names of `layouts.find`. FVD and KVD, of ``i3d``, are of sets: see `atelier.evaluation.sets`."""
