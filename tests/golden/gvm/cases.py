"""GVM's golden cases: what the upstream implementation answered (README.md beside this file)."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

FOLDER = Path(__file__).parent
CASES = {case["name"]: case for case in json.loads((FOLDER / "cases.json").read_text("utf-8"))["cases"]}
MAX, MEAN = 2e-3, 3e-4
"""Largest and mean difference of an alpha computed in float32."""
DAV = ("a06_dav", "a07_dav_defaults")


@dataclass(frozen=True)
class Golden:
    """One case.

    Attributes:
        frames: uint8 [T, H, W, 3].
        settings: for `MattingSettings`, but for the ensemble.
        expected: by ensemble size, float32 [T, H / 2, W / 2]: every second row and column.
        noise: a window's, or None.
        facts: the case's entry.
        inside: what went on in the first batch.
    """

    frames: np.ndarray
    settings: dict
    expected: dict
    noise: list | None
    facts: dict
    inside: dict


def golden(name: str) -> Golden:
    facts = CASES[name]
    arrays = dict(np.load(FOLDER / "expected" / f"{name}.npz"))
    expected = {3: arrays["alpha_lin_u16"] / np.float32(65535)}
    if "alpha_lin_ens1_u16" in arrays:
        expected[1] = arrays["alpha_lin_ens1_u16"] / np.float32(65535)
    noise = [arrays[key] for key in sorted(arrays) if key.startswith("noise_b")] or None
    settings = {**facts["params"], "windows": "overlapping" if facts["windowed"] else "disjoint"}
    inside = {key: value for key, value in arrays.items() if key.startswith("b0_")}
    return Golden(frames(facts["video"]), settings, expected, noise, facts, inside)


def frames(video: str) -> np.ndarray:
    with np.load(FOLDER / "videos" / "frames.npz") as decoded:
        if (key := video.replace(".", "_")) in decoded:
            return decoded[key]
    with av.open(FOLDER / "videos" / video) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def unpack(folder: Path) -> Path:
    """The checkpoints, as they lie on a disk."""
    with zipfile.ZipFile(FOLDER / "checkpoints.zip") as archive:
        archive.extractall(folder)
    return folder


def bases(folder: Path, name: str) -> dict:
    """The arguments of `from_pretrained` for a case."""
    facts = CASES[name]
    return {
        "model_base": folder / "ckpt",
        "unet_base": folder / "ckpt_dav" if facts["pretrain_type"] == "dav" else None,
        "lora_base": folder / "ckpt" / "unet" if facts["lora"] else None,
        "pretrain_type": facts["pretrain_type"],
    }


def assert_golden(alpha: np.ndarray, expected: np.ndarray, *, largest: float = MAX, mean: float = MEAN) -> None:
    difference = np.abs(alpha[:, ::2, ::2].astype(np.float64) - expected)
    assert difference.max() <= largest
    assert difference.mean() <= mean
