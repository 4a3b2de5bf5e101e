"""LaMa's ``config.yaml``: the part of it that describes the network.

Upstream (advimman/lama, Apache-2.0) writes the whole training set-up into this file, with OmegaConf interpolations.
Only the ``generator`` block matters here, so only its interpolations are resolved: other blocks hold ``${env:USER}``
and the like, which nothing but upstream's own version of OmegaConf can resolve.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from atelier.errors import InvalidInput

OutputActivation = Literal["sigmoid", "tanh", "none"]


class ConfigError(InvalidInput):
    """A ``config.yaml`` that cannot be read, or that describes a network which is not supported."""


@dataclass(frozen=True)
class GeneratorConfig:
    """What LaMa's generator (``FFCResNetGenerator`` upstream) is built from; the defaults are big-lama's.

    Attributes:
        ngf: Channels after the first convolution.
        n_downsampling: Halvings of height and width before the residual blocks, 1 to 3.
        n_blocks: Residual blocks at the bottleneck: 18 in big-lama, 9 in lama-fourier.
        max_features: Upper limit of channels at the bottleneck.
        global_ratio: Share of the bottleneck's channels that pass through the Fourier units, between 0 and 1.
        activation: Last layer: ``sigmoid`` (all published models), ``tanh`` or ``none``.
    """

    ngf: int = 64
    n_downsampling: int = 3
    n_blocks: int = 18
    max_features: int = 1024
    global_ratio: float = 0.75
    activation: OutputActivation = "sigmoid"

    input_nc = 4  # red, green, blue, mask
    output_nc = 3

    def channels(self, level: int) -> int:
        """Channels after ``level`` halvings."""
        return min(self.max_features, self.ngf << level)

    @property
    def global_channels(self) -> int:
        """Bottleneck channels of the global (Fourier) half; the local half has the rest."""
        return int(self.channels(self.n_downsampling) * self.global_ratio)

    def block(self) -> str:
        """The ``generator`` block of a ``config.yaml`` as upstream writes it, interpolations included."""
        return _BLOCK.format(self, activation=_WRITTEN[self.activation])


# Upstream's defaults for what a block may leave out. A value equal to these is accepted, any other is refused by name.
_BLOCK_DEFAULTS: dict[str, object] = {
    "padding_type": "reflect",
    "spatial_transform_layers": None,
    "spatial_transform_kwargs": {},
    "out_ffc": False,
    "out_ffc_kwargs": {},
}
_CONVOLUTION_DEFAULTS: dict[str, object] = {
    "gated": False,
    "use_se": False,
    "se_kwargs": None,
    "spectral_pos_encoding": False,
    "spatial_scale_factor": None,
    "spatial_scale_mode": "bilinear",
    "ffc3d": False,
    "fft_norm": "ortho",
    "dilation": 1,
    "groups": 1,
    "bias": False,
    "inline": False,
}
_ACTIVATIONS: dict[object, OutputActivation] = {"sigmoid": "sigmoid", "tanh": "tanh", True: "tanh", False: "none"}
_WRITTEN: dict[OutputActivation, str] = {"sigmoid": "sigmoid", "tanh": "tanh", "none": "false"}
_BLOCK = """\
generator:
  kind: ffc_resnet
  input_nc: {0.input_nc}
  output_nc: {0.output_nc}
  ngf: {0.ngf}
  n_downsampling: {0.n_downsampling}
  n_blocks: {0.n_blocks}
  add_out_act: {activation}
  init_conv_kwargs:
    ratio_gin: 0
    ratio_gout: 0
    enable_lfu: false
  downsample_conv_kwargs:
    ratio_gin: ${{generator.init_conv_kwargs.ratio_gout}}
    ratio_gout: ${{generator.downsample_conv_kwargs.ratio_gin}}
    enable_lfu: false
  resnet_conv_kwargs:
    ratio_gin: {0.global_ratio}
    ratio_gout: ${{generator.resnet_conv_kwargs.ratio_gin}}
    enable_lfu: false
"""
_MAX_CHANNELS = 8192
_MAX_BLOCKS = 256


def read_config(path: Path) -> GeneratorConfig:
    """Read and check the ``config.yaml`` of a LaMa model.

    Args:
        path: The YAML file.

    Returns:
        The generator's settings.

    Raises:
        ConfigError: The file is not there, is not YAML, or describes a network that is not supported.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path.name} is not a YAML file.") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path.name} holds no settings; a LaMa config.yaml with a 'generator' block is expected.")
    return parse_config(document)


def parse_config(document: Mapping[str, object]) -> GeneratorConfig:
    """Check a parsed ``config.yaml``; see `read_config`."""
    _check_training(document)
    block = _resolved_block(document)
    kind = block.pop("kind", None)
    if kind != "ffc_resnet":
        raise ConfigError(
            f"generator.kind {kind!r} is not supported; accepted is 'ffc_resnet' (big-lama, lama-fourier)."
        )
    ratio = _ratio(
        _convolution(block, "init_conv_kwargs"),
        _convolution(block, "downsample_conv_kwargs"),
        _convolution(block, "resnet_conv_kwargs"),
    )
    for key, channels in (("input_nc", GeneratorConfig.input_nc), ("output_nc", GeneratorConfig.output_nc)):
        _only(f"generator.{key}", block.pop(key, None), channels)
    activation = block.pop("add_out_act", True)
    if not isinstance(activation, str | bool) or activation not in _ACTIVATIONS:
        raise ConfigError(
            f"generator.add_out_act {activation!r} is not supported; accepted are sigmoid, tanh, true (tanh) and false."
        )
    config = GeneratorConfig(
        ngf=_integer(block, "ngf", 64, 1, _MAX_CHANNELS),
        n_downsampling=_integer(block, "n_downsampling", 3, 1, 3),
        n_blocks=_integer(block, "n_blocks", 9, 1, _MAX_BLOCKS),
        max_features=_integer(block, "max_features", 1024, 1, _MAX_CHANNELS),
        global_ratio=ratio,
        activation=_ACTIVATIONS[activation],
    )
    for key, default in _BLOCK_DEFAULTS.items():
        _only(f"generator.{key}", block.pop(key, default), default)
    if block:
        raise ConfigError(f"generator.{min(block)} is not a setting of ffc_resnet that is known here.")
    bottleneck = config.channels(config.n_downsampling)
    if not 2 <= config.global_channels < bottleneck:  # the spectral branch halves its channels
        raise ConfigError(
            f"generator.resnet_conv_kwargs.ratio_gin {ratio} leaves a half of {bottleneck} channels empty."
        )
    return config


def _check_training(document: Mapping[str, object]) -> None:
    """Refuse what changes the network's input; the rest of ``training_model`` concerns training alone."""
    training = document.get("training_model")
    if not isinstance(training, Mapping):
        return
    _only("training_model.concat_mask", training.get("concat_mask", True), True)
    if training.get("add_noise_kwargs") is not None:
        raise ConfigError("training_model.add_noise_kwargs is not supported: the network would expect noise channels.")


def _resolved_block(document: Mapping[str, object]) -> dict[str, object]:
    """The ``generator`` block, one level of sub-blocks deep, its interpolations resolved."""
    block = document.get("generator")
    if not isinstance(block, Mapping):
        raise ConfigError("config.yaml has no 'generator' block.")
    resolved: dict[str, object] = {}
    for key, value in block.items():
        if isinstance(value, Mapping):
            resolved[str(key)] = {str(inner): _resolve(entry, document) for inner, entry in value.items()}
        else:
            resolved[str(key)] = _resolve(value, document)
    return resolved


def _resolve(value: object, document: Mapping[str, object]) -> object:
    """Follow ``${generator.a.b}`` until there is a plain value."""
    seen: list[str] = []
    while isinstance(value, str) and "${" in value:
        if value in seen:
            raise ConfigError(f"config.yaml: the interpolation {value} is circular.")
        seen.append(value)
        path = value.removeprefix("${").removesuffix("}").strip()
        if value != f"${{{path}}}" or not path.startswith("generator."):
            raise ConfigError(f"config.yaml: the interpolation {value} is not supported; accepted is ${{generator.…}}.")
        value = document
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise ConfigError(f"config.yaml: the interpolation ${{{path}}} leads nowhere.")
            value = value[name]
    return value


def _convolution(block: dict[str, object], name: str) -> tuple[float, float, bool]:
    """Input ratio, output ratio and ``enable_lfu`` of one ``*_conv_kwargs`` block, everything else checked."""
    settings = block.pop(name, None) or {}
    if not isinstance(settings, dict):
        raise ConfigError(f"generator.{name} must be a block of settings.")
    ratios = []
    for key in ("ratio_gin", "ratio_gout"):
        value = settings.pop(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ConfigError(f"generator.{name}.{key} {value!r} is not a number between 0 and 1.")
        ratios.append(float(value))
    enable_lfu = settings.pop("enable_lfu", True)  # upstream's default, which no published model keeps
    for key, default in _CONVOLUTION_DEFAULTS.items():
        _only(f"generator.{name}.{key}", settings.pop(key, default), default)
    if settings:
        raise ConfigError(f"generator.{name}.{min(settings)} is not a setting that is known here.")
    return ratios[0], ratios[1], enable_lfu is not False


def _ratio(
    init: tuple[float, float, bool], down: tuple[float, float, bool], resnet: tuple[float, float, bool]
) -> float:
    """The global share of the residual blocks, which is the only place where one is supported."""
    for name, block in (("init_conv_kwargs", init), ("downsample_conv_kwargs", down)):
        for key, value in zip(("ratio_gin", "ratio_gout"), block[:2], strict=True):
            _only(f"generator.{name}.{key}", value, 0.0)
    ratio, out_ratio, enable_lfu = resnet
    if not 0 < ratio < 1 or ratio != out_ratio:
        raise ConfigError(
            f"generator.resnet_conv_kwargs.ratio_gin {ratio} and ratio_gout {out_ratio} are not supported; "
            "accepted are equal ratios between 0 and 1, both excluded."
        )
    # A branch that works on quarters of the picture, off in every published model, and undefined for odd bottlenecks.
    _only("generator.resnet_conv_kwargs.enable_lfu", enable_lfu, False)
    return ratio


def _integer(block: dict[str, object], key: str, default: int, low: int, high: int) -> int:
    value = block.pop(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(
            f"generator.{key} {value!r} is not supported; accepted is a whole number from {low} to {high}."
        )
    return value


def _only(name: str, value: object, accepted: object) -> None:
    if value != accepted:
        raise ConfigError(f"{name} {value!r} is not supported; accepted is {accepted!r}.")
