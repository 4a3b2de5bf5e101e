"""Settings of a training run: one YAML file, checked in full before anything starts.

Pictures are floats in 0..1 wherever a loss or a learning rate refers to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from atelier.errors import InvalidInput
from atelier.inpainting.config import GeneratorConfig
from training import initial

_LISTED = 5  # mistakes that one sentence names

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Betas = tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
Side = Annotated[int, Field(ge=32, le=2048, multiple_of=8)]  # 32: the smallest page that can be drawn


class SettingsError(InvalidInput):
    """Settings that cannot be used, or that are not those of the run they are to continue."""


class Part(BaseModel):
    """A block of settings: unchangeable, and without names that are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Generator(Part):
    """The network that is trained; what is not here is as in the published models."""

    ngf: int = Field(ge=1, le=64, description="Channels after the first convolution; big-lama has 64.")
    n_blocks: int = Field(ge=1, le=36, description="Residual blocks at the bottleneck; lama-fourier has 9.")
    n_downsampling: int = Field(3, ge=1, le=3, description="Halvings of height and width before the blocks.")
    global_ratio: float = Field(
        0.75, gt=0, lt=1, description="Share of the bottleneck's channels that pass through the Fourier units."
    )

    activation: Literal["sigmoid", "none"] = Field(
        "sigmoid", description="Last layer; none: what is served is cut to 0..1, so that white needs no large number."
    )
    start: Literal["random", "filler"] = Field("random", description="First weights; see training/initial.py.")

    @model_validator(mode="after")
    def _both_halves(self) -> Self:
        config = self.config()
        if not 2 <= config.global_channels < config.channels(config.n_downsampling):
            raise ValueError(f"global_ratio {self.global_ratio} leaves a half of the bottleneck empty")
        if self.start == "filler" and (lacking := initial.lacking(config)):
            raise ValueError(f"start: {lacking}")
        return self

    def config(self) -> GeneratorConfig:
        """The same, as the library's own settings of a generator."""
        return GeneratorConfig(
            ngf=self.ngf,
            n_downsampling=self.n_downsampling,
            n_blocks=self.n_blocks,
            global_ratio=self.global_ratio,
            activation=self.activation,
        )


class Fonts(Part):
    """Fonts by file name; see `training.fonts.find`."""

    train: tuple[str, ...] = Field(description="For the lettering of training and validation.")
    held_out: tuple[str, ...] = Field(description="For the evaluation alone.")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if both := sorted(set(self.train) & set(self.held_out)):
            raise ValueError(f"held_out and train share {', '.join(both)}")
        return self


class Optimiser(Part):
    """AdamW of the generator, and the curve of both learning rates over all steps of all stages."""

    lr: Positive = Field(description="Highest learning rate.")
    betas: Betas = Field((0.9, 0.99), description="Decay of the averages of gradients and their squares, per step.")
    weight_decay: Weight = Field(0.0, description="Share of a weight that is lost per step and learning rate.")
    warmup_steps: int = Field(0, ge=0, description="Steps in which the rate rises, linearly.")
    final: float = Field(0.01, ge=0, le=1, description="Share of the rate that a cosine has come down to at the end.")
    clip_norm: Positive = Field(description="Longest gradient, as a Euclidean norm over all weights; scaled down to.")


class Discriminator(Part):
    """The network that tells painted pictures from true ones; its Adam's rate follows the optimiser's curve."""

    ndf: int = Field(16, ge=1, le=64, description="Channels after its first convolution.")
    n_layers: int = Field(3, ge=1, le=5, description="Halvings.")
    max_features: int = Field(64, ge=1, le=512, description="Most channels of a convolution.")
    lr: Positive = Field(2e-4, description="Highest learning rate.")
    betas: Betas = Field((0.0, 0.99), description="As the optimiser's.")


class Losses(Part):
    """Weights of the parts of the loss (no unit), and what shapes them."""

    hole: Weight = Field(description="Mean difference in the hole.")
    known: Weight = Field(description="Mean difference outside the hole.")
    log_error: Weight = Field(0.0, description="Logarithm of the squared error in the hole.")
    gradient: Weight = Field(0.0, description="Mean difference of the slopes at three scales, at the hole.")
    frequency: Weight = Field(0.0, description="Focal frequency loss.")
    frequency_alpha: Weight = Field(1.0, description="How much it attends to the frequencies that are wrong; 0: not.")
    adversarial: Weight = Field(0.0, description="What the discriminator thinks of the hole.")
    features: Weight = Field(0.0, description="Relative difference of the discriminator's features.")
    r1: Weight = Field(0.0, description="Weight of the discriminator's gradient penalty, per pixel (see its formula).")
    r1_every: int = Field(16, ge=1, description="Steps between two such penalties, each counted as often.")


class Shape(Part):
    """Size of a batch."""

    height: Side = Field(description="Pixels.")
    width: Side = Field(description="Pixels.")
    batch: int = Field(ge=1, le=256, description="Pictures.")
    weight: Positive = Field(1.0, description="How often, relative to the other shapes of the stage.")


class Stage(Part):
    """A stretch of the run."""

    steps: int = Field(ge=1, description="Optimiser steps.")
    shapes: tuple[Shape, ...] = Field(min_length=1, description="One is drawn for each step.")
    frozen_norm: bool = Field(
        False, description="Normalise by the running statistics, as when serving, and leave these as they are."
    )
    adversarial: bool = Field(False, description="Train and use the discriminator.")

    @model_validator(mode="after")
    def _statistics_need_pictures(self) -> Self:
        if not self.frozen_norm and any(shape.batch < 2 for shape in self.shapes):
            raise ValueError("shapes with a batch of 1 need frozen_norm: true")
        return self


class Settings(Part):
    """Everything that a run depends on."""

    seed: int = Field(0, ge=0, description="Of the weights and of the pages.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one.")
    threads: int = Field(2, ge=1, le=256, description="Threads of PyTorch.")
    workers: int = Field(1, ge=0, le=64, description="Processes that draw pages; 0: drawn between the steps.")
    generator: Generator
    fonts: Fonts
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Decay, per step, of the weights' average: the result.")
    optimiser: Optimiser
    discriminator: Discriminator
    losses: Losses
    stages: tuple[Stage, ...] = Field(min_length=1, description="In their order.")
    log_every: int = Field(50, ge=1, description="Steps.")
    checkpoint_every: int = Field(500, ge=1, description="Steps.")
    sample_every: int = Field(1000, ge=1, description="Steps between validations, each with a picture.")
    validation_samples: int = Field(24, ge=1, le=1024, description="Pages of a validation.")
    validation_side: Side = Field(256, description="Their height and width in pixels.")

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)


def read(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        SettingsError: It cannot be read, or a setting is missing, unknown or outside of its range; each is named.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path.name} is not a YAML file.") from error
    return parse(document, path.name)


def parse(document: object, name: str = "settings") -> Settings:
    """Check settings that are plain values; see `read`."""
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        mistakes = [_mistake(tuple(found["loc"]), found["msg"]) for found in error.errors()]
        more = f"; and {len(mistakes) - _LISTED} more" if len(mistakes) > _LISTED else ""
        raise SettingsError(f"{name}: {'; '.join(mistakes[:_LISTED])}{more}.") from error


def _mistake(place: tuple[int | str, ...], message: str) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    what = message.removeprefix("Value error, ")
    return f"{where}: {what[:1].lower()}{what[1:]}" if where else f"{what[:1].lower()}{what[1:]}"
