"""LaMa's generator, layer for layer as published, so that published checkpoints load strictly.

Suvorov et al. 2021, "Resolution-robust Large Mask Inpainting with Fourier Convolutions" (arXiv 2109.07161), built of
fast Fourier convolutions (Chi et al. 2020); upstream: advimman/lama, Apache-2.0. Attribute names, and the place of each
layer in ``model``, are upstream's: they are the keys of its checkpoints.

A fast Fourier convolution carries two feature maps of the same size: a local one, seen through 3x3 windows, and a
global one, seen through its spectrum, hence through the whole picture at once.
"""

from typing import cast

import torch
from torch import Tensor, nn

from atelier.errors import InvalidInput
from atelier.inpainting.config import GeneratorConfig, OutputActivation
from atelier.inpainting.fourier import Transform, TransformName, plan

SIZE_MULTIPLE = 8  # pixels: three halvings
MIN_SIZE = 16  # pixels: below it the bottleneck is 1 pixel wide, which reflection cannot pad

_ACTIVATION: dict[OutputActivation, type[nn.Module] | None] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "none": None}


class FourierUnit(nn.Module):
    """A 1x1 convolution of the half spectrum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * channels)

    def forward(self, features: Tensor, transform: Transform) -> Tensor:
        """B x C x H x W to the same."""
        spectrum = self.bn(self.conv_layer(transform.forward(features)))
        return transform.inverse(torch.relu(spectrum))


class SpectralTransform(nn.Module):
    """The global half's own path: fewer channels, a `FourierUnit` with a shortcut around it, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.conv1 = nn.Sequential(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU())
        self.fu = FourierUnit(inner)
        self.conv2 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, features: Tensor, transform: Transform) -> Tensor:
        """B x C x H x W to the same."""
        reduced = self.conv1(features)
        return cast(Tensor, self.conv2(reduced + self.fu(reduced, transform)))


class FFC(nn.Module):
    """Fast Fourier convolution: local and global features in, local and global features out.

    Args:
        inputs: Channels of the local and the global input; 0 where there is none.
        outputs: Channels of the local and the global output; 0 where there is none.
        kernel: Side of the window.
        stride: Step of the window.
        padding: Pixels of reflected border on each side.
    """

    def __init__(
        self, inputs: tuple[int, int], outputs: tuple[int, int], kernel: int, stride: int, padding: int
    ) -> None:
        super().__init__()

        def window(source: int, target: int) -> nn.Conv2d:
            return nn.Conv2d(source, target, kernel, stride, padding, bias=False, padding_mode="reflect")

        local, global_ = inputs
        self.convl2l = window(local, outputs[0])
        self.convl2g = window(local, outputs[1]) if outputs[1] else None
        self.convg2l = window(global_, outputs[0]) if global_ else None
        self.convg2g = SpectralTransform(global_) if global_ and outputs[1] else None

    def forward(
        self, local: Tensor, global_: Tensor | None, transform: Transform | None
    ) -> tuple[Tensor, Tensor | None]:
        """Local and global features, None where there is no such half, to local and global features."""
        out_local = self.convl2l(local)
        out_global = None if self.convl2g is None else self.convl2g(local)
        if self.convg2l is not None:
            out_local = out_local + self.convg2l(global_)
        if self.convg2g is not None:
            out_global = out_global + self.convg2g(global_, transform)
        return out_local, out_global


class FFCBnAct(nn.Module):
    """`FFC`, batch normalisation and ReLU, each half for itself."""

    def __init__(
        self, inputs: tuple[int, int], outputs: tuple[int, int], kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.ffc = FFC(inputs, outputs, kernel, stride, padding)
        self.bn_l = nn.BatchNorm2d(outputs[0])
        self.bn_g = nn.BatchNorm2d(outputs[1]) if outputs[1] else None

    def forward(
        self, local: Tensor, global_: Tensor | None = None, transform: Transform | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `FFC.forward`."""
        local, global_ = self.ffc(local, global_, transform)
        return torch.relu(self.bn_l(local)), None if self.bn_g is None else torch.relu(self.bn_g(global_))


class FFCResnetBlock(nn.Module):
    """Two `FFCBnAct` with a shortcut around both, for either half."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = FFCBnAct(channels, channels, 3, padding=1)
        self.conv2 = FFCBnAct(channels, channels, 3, padding=1)

    def forward(self, local: Tensor, global_: Tensor, transform: Transform) -> tuple[Tensor, Tensor]:
        """Local and global features to the same."""
        out_local, out_global = self.conv2(*self.conv1(local, global_, transform), transform)
        return local + out_local, global_ + out_global


class ConcatHalves(nn.Module):
    """Local and global features, in this order, as one feature map."""

    def forward(self, local: Tensor, global_: Tensor) -> Tensor:
        """B x L x H x W and B x G x H x W to B x (L + G) x H x W."""
        return torch.cat([local, global_], dim=1)


class LamaGenerator(nn.Module):
    """The network: a picture with a hole in, the picture without it out.

    Args:
        config: The network's settings.
        transform: How its Fourier units transform: ``fft`` or ``matmul`` (see `atelier.inpainting.fourier`). The
            attribute of the same name may be changed at any time.
    """

    def __init__(self, config: GeneratorConfig, transform: TransformName = "fft") -> None:
        super().__init__()
        self.config = config
        self.transform: TransformName = transform
        depth = config.n_downsampling
        bottleneck = config.channels(depth)
        halves = (bottleneck - config.global_channels, config.global_channels)
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), FFCBnAct((config.input_nc, 0), (config.ngf, 0), 7)]
        for level in range(depth):
            outputs = halves if level == depth - 1 else (config.channels(level + 1), 0)
            layers.append(FFCBnAct((config.channels(level), 0), outputs, 3, stride=2, padding=1))
        layers += [FFCResnetBlock(halves) for _ in range(config.n_blocks)]
        layers.append(ConcatHalves())
        for level in reversed(range(depth)):
            source, target = config.channels(level + 1), config.channels(level)
            layers += [nn.ConvTranspose2d(source, target, 3, 2, 1, 1), nn.BatchNorm2d(target), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(config.ngf, config.output_nc, 7)]
        if (activation := _ACTIVATION[config.activation]) is not None:
            layers.append(activation())
        self.model = nn.Sequential(*layers)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole and leave the rest.

        Args:
            image: Float, B x 3 x H x W, RGB in 0..1; H and W multiples of 8, 16 or more.
            mask: Float, B x 1 x H x W: 1 in the hole, 0 outside.

        Returns:
            B x 3 x H x W in 0..1: the prediction in the hole, ``image`` outside.

        Raises:
            InvalidInput: The shapes are not as above.
        """
        return mask * self.predict(image, mask) + (1 - mask) * image

    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """What the network paints everywhere, inside the hole and outside; arguments as `forward`'s."""
        _check_shapes(image, mask)
        layers = list(self.model)
        first_block = 2 + self.config.n_downsampling
        concat = first_block + self.config.n_blocks
        local, global_ = layers[0](torch.cat([image * (1 - mask), mask], dim=1)), None
        for layer in layers[1:first_block]:
            local, global_ = layer(local, global_)
        transform = plan(self.transform, cast(Tensor, global_))
        for layer in layers[first_block:concat]:
            local, global_ = layer(local, global_, transform)
        features: Tensor = layers[concat](local, global_)
        for layer in layers[concat + 1 :]:
            features = layer(features)
        return features


def _check_shapes(image: Tensor, mask: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise InvalidInput(f"image has shape {list(image.shape)}; accepted is batch x 3 x height x width.")
    batch, _, height, width = image.shape
    if mask.shape != (batch, 1, height, width):
        raise InvalidInput(f"mask has shape {list(mask.shape)}; for this image it must be {[batch, 1, height, width]}.")
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE or min(height, width) < MIN_SIZE:
        raise InvalidInput(
            f"image is {width}x{height} pixels; width and height must be multiples of {SIZE_MULTIPLE}, "
            f"{MIN_SIZE} or more."
        )
