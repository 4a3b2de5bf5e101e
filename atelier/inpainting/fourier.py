"""The transform inside LaMa's Fourier units, written so that every device and run time gives the same numbers.

A Fourier unit (Chi et al. 2020, Fast Fourier Convolution) convolves the half spectrum of a feature map. What comes out
of that convolution is no longer the spectrum of a real picture: it is not Hermitian along the columns of bin 0 and,
for an even width, of bin W/2. Upstream calls ``irfftn``, whose answer for such a spectrum is undefined: PyTorch on the
CPU runs a complex inverse over the height and then a real one over the width, which drops the imaginary part of these
bins; cuFFT's two-dimensional transform does something else (pytorch/pytorch#104867). Published weights were trained
with the former, so it is spelled out here, in two forms:

- `FftTransform`, with ``torch.fft``, the quicker one in PyTorch;
- `MatmulTransform`, as matrix products, for ONNX Runtime and TensorRT: it needs standard operators alone, and takes
  any height and width.

Shapes: B batch, C channels, H height, W width of a feature map, K = W // 2 + 1. A spectrum is real, B x 2C x H x K,
its channels re0, im0, re1, im1, ... as upstream's. Both forms normalise as ``norm="ortho"``.
"""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

TransformName = Literal["fft", "matmul"]


class Transform(Protocol):
    """A transform of feature maps of one size."""

    def forward(self, features: Tensor) -> Tensor:
        """B x C x H x W features to their B x 2C x H x K half spectrum."""

    def inverse(self, spectrum: Tensor) -> Tensor:
        """B x 2C x H x K spectrum back to B x C x H x W features."""


def plan(name: TransformName, features: Tensor) -> Transform:
    """The transform for feature maps of this size, to be made once for all units of a forward pass.

    Args:
        name: ``fft`` or ``matmul``.
        features: ... x H x W, whose size, device and precision count.
    """
    return FftTransform(features) if name == "fft" else MatmulTransform(features)


class FftTransform:
    """The transform with ``torch.fft``."""

    def __init__(self, features: Tensor) -> None:
        self.width = features.shape[-1]

    def forward(self, features: Tensor) -> Tensor:
        """See `Transform.forward`."""
        spectrum = torch.view_as_real(torch.fft.rfftn(features, dim=(-2, -1), norm="ortho"))
        return spectrum.permute(0, 1, 4, 2, 3).flatten(1, 2)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """See `Transform.inverse`."""
        batch, channels, height, bins = spectrum.shape
        parts = spectrum.reshape(batch, channels // 2, 2, height, bins).permute(0, 1, 3, 4, 2).contiguous()
        columns = torch.fft.ifft(torch.view_as_complex(parts), dim=-2, norm="ortho")
        # Bin 0 and, for an even width, bin W/2 have no imaginary part. Written as a cut and a padding because a trace
        # of that serves every width and every device: no branch on the width, no tensor made on the tracing device.
        inner = (self.width - 1) // 2
        imaginary = functional.pad(columns.imag[..., 1 : 1 + inner], (1, self.width // 2 - inner))
        features: Tensor = torch.fft.irfft(torch.complex(columns.real, imaginary), n=self.width, dim=-1, norm="ortho")
        return features


class MatmulTransform:
    """The transform as products with four small matrices on either side.

    With X = features @ F for the real and the imaginary part of F, W x K, the spectrum is
    M_re @ X_re + M_im @ X_im, 2H rows: first the real ones, then the imaginary ones, so that a plain reshape gives
    the interleaved channels. The inverse mirrors this.
    """

    def __init__(self, features: Tensor) -> None:
        height, width = features.shape[-2], features.shape[-1]
        bins = width // 2 + 1
        # 1/sqrt(length) is inside the matrices: scaling afterwards would cost head-room in narrow types.
        cos_w, sin_w = _turns(width, bins, width, features)
        cos_h, sin_h = _turns(height, height, height, features)
        self.forward_re, self.forward_im = cos_w, -sin_w
        self.columns_re = torch.cat([cos_h, -sin_h])
        self.columns_im = torch.cat([sin_h, cos_h])
        self.rows_re = torch.cat([cos_h, -sin_h], dim=1)
        self.rows_im = torch.cat([sin_h, cos_h], dim=1)
        # A half spectrum stands for both halves: bins count twice, but for 0 and, for an even width, W/2. The sine of
        # these two is 0 in exact arithmetic; it is cut here as it is in `FftTransform.inverse`.
        inner = (width - 1) // 2
        both = functional.pad(2 * torch.ones_like(cos_w[:1, 1 : 1 + inner]), (1, width // 2 - inner), value=1.0)
        sine = functional.pad(2 * sin_w[:, 1 : 1 + inner], (1, width // 2 - inner))
        self.inverse_re = (cos_w * both).transpose(0, 1)
        self.inverse_im = -sine.transpose(0, 1)

    def forward(self, features: Tensor) -> Tensor:
        """See `Transform.forward`."""
        real, imaginary = features @ self.forward_re, features @ self.forward_im
        stacked = self.columns_re @ real + self.columns_im @ imaginary
        batch, channels, rows, bins = stacked.shape
        return stacked.reshape(batch, 2 * channels, rows // 2, bins)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """See `Transform.inverse`."""
        batch, channels, height, bins = spectrum.shape
        stacked = spectrum.reshape(batch, channels // 2, 2 * height, bins)
        return (self.rows_re @ stacked) @ self.inverse_re + (self.rows_im @ stacked) @ self.inverse_im


def _turns(rows: int, columns: int, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi n k / length over sqrt(length), for n < rows and k < columns.

    The product n k is reduced as an integer, where that is exact: a large angle in float32 would cost four digits.
    """
    n = torch.arange(rows, device=like.device).unsqueeze(1)
    k = torch.arange(columns, device=like.device).unsqueeze(0)
    angle = ((n * k) % length).to(torch.float32) * (2 * math.pi / length)
    scale = length**-0.5
    return (torch.cos(angle) * scale).to(like.dtype), (torch.sin(angle) * scale).to(like.dtype)
