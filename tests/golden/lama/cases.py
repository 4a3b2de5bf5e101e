"""LaMa's golden cases: what the upstream implementation answered (README.md beside this file)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent
HOT = FOLDER / "hot"


@dataclass(frozen=True)
class Golden:
    """One case, always with a batch axis, its pictures padded as upstream pads them."""

    checkpoint: Path
    image: np.ndarray  # uint8 N x H x W x 3
    mask: np.ndarray  # uint8 N x H x W
    predicted: np.ndarray  # float32 N x 3 x H x W
    inpainted: np.ndarray  # float32 N x 3 x H x W
    levels: np.ndarray  # uint8 N x h x w x 3, not padded

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The generator's arguments."""
        image = torch.from_numpy(self.image).permute(0, 3, 1, 2).float() / 255
        return image, (torch.from_numpy(self.mask) > 0).float().unsqueeze(1)

    def cut(self, answer: np.ndarray) -> np.ndarray:
        """An answer of the padded size, without the padding."""
        return answer[:, : self.levels.shape[1], : self.levels.shape[2]]


def _padded(array: np.ndarray) -> np.ndarray:
    height, width = array.shape[1:3]
    return np.pad(array, [(0, 0), (0, -height % 8), (0, -width % 8)] + [(0, 0)] * (array.ndim - 3), mode="symmetric")


def golden(name: str) -> Golden:
    path = FOLDER / name
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    if arrays["image"].ndim == 3:
        arrays = {key: array[None] for key, array in arrays.items()}
    return Golden(
        checkpoint=path.parent,
        image=_padded(arrays["image"]),
        mask=_padded(arrays["mask"]),
        predicted=arrays["predicted_f32"],
        inpainted=arrays["inpainted_f32"],
        levels=arrays["inpainted_u8"],
    )


NAMES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.npz"))
