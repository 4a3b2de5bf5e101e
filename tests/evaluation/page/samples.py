"""A small evaluation to show: videos whose frames carry their number, and results with every kind of verdict."""

import shutil
from pathlib import Path

import av
import numpy as np
from PIL import Image

WIDTH, HEIGHT, FPS, FRAMES, BITS = 384, 224, 24, 60, 6
"""Of the videos. A frame's number stands in the upper half: a white block for each bit that is set."""
LEVELS = {"base": 50, "style-1.0": 110, "style-0.5": 180, "none-1.0": 50}
"""Of the lower half's grey: which variant it is. The adapter `none` changes nothing."""
THREE = ("base", "style-1.0", "none-1.0")
LABELS = {
    "base": "Without LoRA",
    "style-1.0": "With LoRA (style at 1)",
    "style-0.5": "With LoRA (style at 0.5)",
    "none-1.0": "With LoRA (none at 1)",
}
PROMPTS = {
    "p01": "고양이가 창가에 앉아 비 오는 서울의 거리를 내려다본다, 수묵화 풍",
    "p02": "A lighthouse on a cliff at dusk, waves breaking below, ink wash painting",
    "p03": "<img src=x onerror=\"document.title='hacked'\"></script><script>document.title='hacked'</script>",
}
METRICS = [
    ("sharpness_laplacian", "Sharpness, variance of the Laplacian", "", "higher", "output", "always", 1),
    ("flicker", "Temporal flicker", "", "lower", "output", "always", 3),
    ("motion", "Motion", "pixels a frame", None, "output", "always", 2),
    ("frozen", "Frozen frames", "%", "lower", "output", "always", 1),
    ("ssim", "SSIM to the base", "", None, "pair", "always", 3),
    ("clip_score", "CLIP score, cosine × 100", "", "higher", "output", "learned", 2),
    ("legacy_overall", "legacy_overall", "", "higher", "output", "legacy", 3),
]
VERDICTS = {
    "sharpness_laplacian": ("better", 12.4, 6.1, 18.9, 0.03),
    "flicker": ("worse", 0.021, 0.008, 0.034, 0.031),
    "motion": ("lower", -0.42, -0.7, -0.1, 0.04),
    "frozen": ("no difference", 0.0, 0.0, 0.0, None),
    "clip_score": ("no conclusion", 0.3, -0.4, 1.1, 0.31),
}


def write_video(path: Path, variant: str) -> None:
    """H.264 as the service writes it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(variant, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def picture(variant: str, number: int) -> np.ndarray:
    """One frame, uint8 [H, W, 3]."""
    pixels = np.full((HEIGHT, WIDTH, 3), LEVELS[variant], np.uint8)
    block = WIDTH // BITS
    for bit in range(BITS):
        pixels[: HEIGHT // 2, bit * block : (bit + 1) * block] = 255 * (number >> bit & 1)
    return pixels


def frame_number(pixels: np.ndarray) -> int:
    """What a screenshot [h, w, 3] of a frame says."""
    height, width = pixels.shape[:2]
    row = pixels[height // 4]
    return sum((row[int((bit + 0.5) * width / BITS)].mean() > 127) << bit for bit in range(BITS))


def variant_shown(pixels: np.ndarray) -> str:
    """The first variant whose grey is nearest; `none` has the base's."""
    grey = pixels[pixels.shape[0] * 3 // 4, pixels.shape[1] // 2].mean()
    return min(LEVELS, key=lambda name: abs(LEVELS[name] - grey))


def results(variants=("base", "style-1.0"), seeds=(1, 2), kind="videos", prompts=PROMPTS) -> dict:
    """The object that the page shows, its files named but not written."""
    items = [_item(prompt, seed, variants, kind) for prompt in prompts for seed in seeds]
    return {
        "version": 1,
        "kind": kind,
        "title": "스타일 LoRA 평가 · Style LoRA, October",
        "created": "2026-11-22T08:00:00+00:00",
        "variants": [{"id": name, "label": LABELS[name], "loras": {}, "base": name == "base"} for name in variants],
        "prompts": [{"id": name, "text": text} for name, text in prompts.items()],
        "items": items,
        "metrics": [
            {"name": name, "label": label, "unit": unit, "better": better, "scope": scope, "group": group}
            | {"about": f"What {label} sees, its range and its source.", "digits": digits}
            for name, label, unit, better, scope, group, digits in METRICS
        ],
        "applied": [_applied(name, len(items)) for name in variants[1:]],
        "comparisons": [_comparison(name, metric, items) for name in variants[1:] for metric in VERDICTS],
        "sets": [
            {"metric": "fvd", "label": "FVD", "variant": name, "value": None, "low": None, "high": None}
            | {"n": len(items), "sentence": f"not computed: n = {len(items)}, it needs 256 and a reference set."}
            for name in variants
        ],
        "missing": ["LPIPS: not computed, there is no folder weights/evaluation/lpips."],
        "legacy": {
            "notes": {"legacy_overall": "Rewards stills and noise; white noise scores a perfect 1."},
            "thresholds": "CLIP ≥ 0.3, FVD ≤ 1140: nothing can fail them.",
        },
        "reproduce": {
            "command": "atelier evaluate run --prompts prompts.txt --seeds 1,2 --variants base,lora:style@1.0 -o out",
            "versions": {"atelier": "0.1.0", "opencv": "4.14.0"},
            "weights": {"style": "9f2c" * 16},
            "settings": {"frames": FRAMES, "size": "384 × 224"},
        },
    }


def _item(prompt: str, seed: int, variants, kind: str) -> dict:
    name = f"{prompt}-{seed}"
    suffix = "mp4" if kind == "videos" else "png"
    values = {"sharpness_laplacian": 100.0, "flicker": 0.1, "motion": 3.0, "frozen": 0.0, "clip_score": 27.1}
    outputs = {}
    for index, variant in enumerate(variants):
        outputs[variant] = {
            "file": f"{kind}/{variant}/{name}.{suffix}",
            "width": WIDTH,
            "height": HEIGHT,
            "frames": FRAMES if kind == "videos" else None,
            "fps": float(FPS) if kind == "videos" else None,
            "sha256": "0" * 64,
            "metrics": {key: value * (1 + 0.1 * index) for key, value in values.items()}
            | {"legacy_overall": 0.8 + 0.1 * seed},
            "facts": {"seed": seed, "adapters": []},
        }
    pairs = {variant: {"ssim": 0.83} for variant in variants[1:]}
    return {"id": name, "prompt": prompt, "seed": seed, "name": name, "outputs": outputs, "pairs": pairs}


def _applied(variant: str, of: int) -> dict:
    applied = variant != "none-1.0"
    sentence = (
        f"Applied: all {of} videos differ from the base's."
        if applied
        else f"{of} of {of} videos equal the base's, pixel by pixel: the adapter changed nothing."
    )
    return {"variant": variant, "applied": applied, "equal": 0 if applied else of, "of": of, "sentence": sentence}


def _comparison(variant: str, metric: str, items: list) -> dict:
    verdict, median, low, high, p = VERDICTS[metric]
    spread = np.linspace(low * 1.2, high * 1.2, len(items))
    return {
        "variant": variant,
        "metric": metric,
        "n": len(items),
        "groups": len({item["prompt"] for item in items}),
        "unit": "prompt",
        "differences": [{"item": item["id"], "value": float(value)} for item, value in zip(items, spread, strict=True)],
        "median": median,
        "mean": median,
        "low": low,
        "high": high,
        "p": p,
        "p_adjusted": p and p + 0.005,
        "test": "Wilcoxon signed-rank",
        "verdict": verdict,
        "sentence": f"{verdict}: median {median}, n = {len(items)}.",
    }


def write_files(folder: Path, shown: dict) -> None:
    """The videos or pictures that results name; a variant's are alike."""
    videos = {}
    for item in shown["items"]:
        for variant, output in item["outputs"].items():
            path = folder / output["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if variant in videos:
                shutil.copyfile(videos[variant], path)
            elif shown["kind"] == "videos":
                write_video(path, variant)
                videos[variant] = path
            else:
                Image.fromarray(picture(variant, 5)).save(path)
