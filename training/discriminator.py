"""What tells painted pictures from true ones: a patch discriminator.

It is pix2pixHD's (Wang et al. 2018, arXiv 1711.11585) without batch normalisation: batches here are of 1 to 8 pages,
the painted and the true ones pass apart, and their own statistics would tell them apart without a look at the patch.
The gradient penalty does the steadying instead.
"""

from __future__ import annotations

from torch import Tensor, nn

from training.settings import Discriminator

_SLOPE = 0.2  # of the leaky rectifiers
_KERNEL, _PADDING = 4, 2  # pixels


class PatchDiscriminator(nn.Module):
    """Scores for overlapping squares of a picture.

    Args:
        settings: Its size.
    """

    def __init__(self, settings: Discriminator) -> None:
        super().__init__()
        widths = [min(settings.max_features, settings.ndf << level) for level in range(settings.n_layers + 1)]
        layers: list[nn.Module] = []
        for level, (source, target) in enumerate(zip([3, *widths], widths, strict=False)):
            stride = 2 if level < settings.n_layers else 1
            convolution = nn.Conv2d(source, target, _KERNEL, stride, _PADDING)
            # Nothing else keeps the features' size from layer to layer.
            nn.init.kaiming_normal_(convolution.weight, a=_SLOPE)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers.append(nn.Sequential(convolution, nn.LeakyReLU(_SLOPE)))
        self.layers = nn.ModuleList(layers)
        self.score = nn.Conv2d(widths[-1], 1, _KERNEL, 1, _PADDING)
        nn.init.xavier_normal_(self.score.weight)

    def forward(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """B x 3 x H x W in 0..1 to scores, B x 1 x h x w with high for real, and the features of every layer."""
        features = []
        values = 2 * picture - 1
        for layer in self.layers:
            values = layer(values)
            features.append(values)
        scores: Tensor = self.score(values)
        return scores, features
