"""LaMa's generator as it is exported: the same function in fewer, larger steps.

- Batch normalisation is folded into the convolution before it, or, behind a sum, into both sides of the sum.
- Both halves travel as one feature map, padded once for all windows that look at it, and the two convolutions that make
  the local half are one.
- In ``fp16`` everything outside the Fourier units is half precision. They stay float32 as a whole: the spectrum's bin 0
  is the mean times the square root of the area, which leaves half precision's range (65504) on large, bright or flat
  pictures. The answer is then NaN, which reads as black.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from atelier.inpainting.fourier import Transform, TransformName, plan
from atelier.inpainting.generator import FFC, FFCBnAct, LamaGenerator, SpectralTransform

Precision = Literal["fp32", "fp16"]


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation with running statistics, as y = scale x + shift."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _convolution(weight: Tensor, bias: Tensor | None, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride, bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def _folded(weight: Tensor, norm: nn.BatchNorm2d, stride: int = 1) -> nn.Conv2d:
    scale, shift = _scale_and_shift(norm)
    return _convolution(weight * scale[:, None, None, None], shift, stride)


def _reflect(features: Tensor, border: int) -> Tensor:
    return functional.pad(features, (border,) * 4, mode="reflect")


def _sigmoid(values: Tensor) -> Tensor:
    """The logistic function, written out.

    ONNX Runtime's own stops at 0.99999994, which truncation makes 254 of 255: white paper would come back a shade
    darker than the checkpoint paints it.
    """
    return 1 / (1 + torch.exp(-values))


class FusedSpectral(nn.Module):
    """`SpectralTransform` with the global batch normalisation behind it."""

    def __init__(self, source: SpectralTransform, scale: Tensor) -> None:
        super().__init__()
        self.reduce = _folded(source.conv1[0].weight, source.conv1[1])
        self.spectral = _folded(source.fu.conv_layer.weight, source.fu.bn)
        self.expand = _convolution(source.conv2.weight * scale[:, None, None, None], None)

    def forward(self, features: Tensor, transform: Transform) -> Tensor:
        """N x C x H x W global features to the same."""
        reduced = torch.relu(self.reduce(features))
        exact = reduced.float()  # the Fourier unit is float32 in every precision
        spectrum = torch.relu(self.spectral(transform.forward(exact)))
        return self.expand((exact + transform.inverse(spectrum)).to(reduced.dtype))


class FusedHalfBlock(nn.Module):
    """One of a residual block's two `FFCBnAct`, on local and global features in one map."""

    def __init__(self, source: FFCBnAct) -> None:
        super().__init__()
        ffc: FFC = source.ffc
        self.local_channels = ffc.convl2l.in_channels
        self.to_local = _folded(torch.cat([ffc.convl2l.weight, ffc.convg2l.weight], dim=1), source.bn_l)
        self.local_to_global = _folded(ffc.convl2g.weight, source.bn_g)
        self.spectral = FusedSpectral(ffc.convg2g, _scale_and_shift(source.bn_g)[0])

    def forward(self, features: Tensor, transform: Transform) -> Tensor:
        """N x C x H x W, local channels first, to the same."""
        padded = _reflect(features, 1)
        local = self.to_local(padded)
        global_ = self.local_to_global(padded[:, : self.local_channels])
        global_ = global_ + self.spectral(features[:, self.local_channels :], transform)
        return torch.relu(torch.cat([local, global_], dim=1))


class FusedGenerator(nn.Module):
    """What `LamaGenerator.predict` computes.

    Args:
        generator: The network, in eval mode; it is left as it is.
        transform: How the Fourier units transform.
        precision: ``fp32``, or ``fp16`` for half precision everywhere but in the Fourier units and the last activation.
    """

    def __init__(self, generator: LamaGenerator, transform: TransformName, precision: Precision) -> None:
        super().__init__()
        config, layers = generator.config, list(generator.model)
        self.transform: TransformName = transform
        first_block = 2 + config.n_downsampling
        concat = first_block + config.n_blocks
        self.entry = _folded(layers[1].ffc.convl2l.weight, layers[1].bn_l)
        self.down = nn.ModuleList(self._downward(layer) for layer in layers[2:first_block])
        self.blocks = nn.ModuleList(
            nn.ModuleList([FusedHalfBlock(block.conv1), FusedHalfBlock(block.conv2)])
            for block in layers[first_block:concat]
        )
        upward = layers[concat + 1 : concat + 1 + 3 * config.n_downsampling]
        self.up = nn.ModuleList(self._upward(*pair) for pair in zip(upward[::3], upward[1::3], strict=True))
        last = layers[concat + 1 + len(upward) + 1]
        self.exit = _convolution(last.weight, last.bias)
        self.activation = {"sigmoid": _sigmoid, "tanh": torch.tanh, "none": nn.Identity()}[config.activation]
        self.dtype = torch.float32
        if precision == "fp16":
            self.half()
            self.dtype = torch.float16
            for module in self.modules():
                if isinstance(module, FusedSpectral):
                    module.spectral.float()
        self.eval()

    @staticmethod
    def _downward(layer: FFCBnAct) -> nn.Conv2d:
        weight, (scale, shift) = layer.ffc.convl2l.weight, _scale_and_shift(layer.bn_l)
        if layer.ffc.convl2g is not None:  # the step that splits: one convolution makes both halves
            global_scale, global_shift = _scale_and_shift(layer.bn_g)
            weight = torch.cat([weight, layer.ffc.convl2g.weight])
            scale, shift = torch.cat([scale, global_scale]), torch.cat([shift, global_shift])
        return _convolution(weight * scale[:, None, None, None], shift, stride=2)

    @staticmethod
    def _upward(source: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.ConvTranspose2d:
        scale, shift = _scale_and_shift(norm)
        layer = nn.ConvTranspose2d(source.in_channels, source.out_channels, 3, 2, 1, 1)
        layer.weight = nn.Parameter((source.weight * scale[None, :, None, None]).detach(), requires_grad=False)
        layer.bias = nn.Parameter((source.bias * scale + shift).detach(), requires_grad=False)
        return layer

    def forward(self, masked: Tensor) -> Tensor:
        """Predict.

        Args:
            masked: Float32, N x 4 x H x W: RGB in 0..1 with 0 in the hole, and the mask; sides multiples of 8.

        Returns:
            Float32, N x 3 x H x W.
        """
        features = torch.relu(self.entry(_reflect(masked.to(self.dtype), 3)))
        for layer in self.down:
            features = torch.relu(layer(_reflect(features, 1)))
        transform = plan(self.transform, features.float())
        for first, second in self.blocks:
            features = features + second(first(features, transform), transform)
        for layer in self.up:
            features = torch.relu(layer(features))
        return self.activation(self.exit(_reflect(features, 3)).float())


class LamaGraph(nn.Module):
    """The graph of the model ``lama``, as Triton serves it: pictures in, pictures out.

    The names of `forward`'s arguments are those of Triton's inputs, since Triton's PyTorch backend goes by them.
    """

    def __init__(self, network: FusedGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, IMAGE: Tensor, MASK: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            IMAGE: UINT8, N x H x W x 3, RGB; H and W multiples of 8, 16 or more.
            MASK: UINT8, N x H x W; any value but 0 is hole.

        Returns:
            UINT8, N x H x W x 3: outside the hole IMAGE's bytes, inside the prediction, truncated as upstream does.
        """
        image = IMAGE.float()
        hole = (MASK.float() > 0).unsqueeze(3)
        mask = hole.float()
        masked = torch.cat([image / 255 * (1 - mask), mask], dim=3).permute(0, 3, 1, 2)
        predicted = self.network(masked).permute(0, 2, 3, 1)
        # Whole numbers from 0 to 255 are exact in float32, so known bytes pass unchanged; selecting here and not among
        # bytes is for TensorRT, where UINT8 enters and leaves a network and is nothing to compute with.
        levels = torch.floor(torch.clamp(predicted * 255, 0, 255))
        return torch.where(hole, levels, image).to(torch.uint8)
