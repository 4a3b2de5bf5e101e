"""The networks of a run and one step of their training."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from atelier.inpainting.generator import LamaGenerator
from training import initial, losses
from training.average import MovingAverage
from training.batches import Batch, stage_at
from training.discriminator import PatchDiscriminator
from training.settings import Settings, Stage

MAX_SKIPPED = 20
"""Steps in a row without a finite loss; one more ends the run."""


class TrainingError(Exception):
    """A run that cannot go on. The sentence is for the user."""


def rate(settings: Settings, step: int) -> float:
    """Share of the highest learning rate at a step, counted from 0: a line up, then half a cosine down."""
    warmup = settings.optimiser.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, settings.total_steps - 1 - warmup)
    final = settings.optimiser.final
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, done))) / 2


class Trainer:
    """Networks, optimisers and how far they are.

    Args:
        settings: The run's.
        device: Where the networks are.

    Attributes:
        step: Steps that are done.
        samples: Pages that were seen.
        skipped: Steps whose loss or gradient was not finite, and which changed nothing.
    """

    def __init__(self, settings: Settings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.generator = _begun(settings)
        self.discriminator = PatchDiscriminator(settings.discriminator)
        for network in (self.generator, self.discriminator):
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(self.generator, settings.ema_decay)
        self.optimiser = torch.optim.AdamW(
            _groups(self.generator, settings.optimiser.weight_decay),
            lr=settings.optimiser.lr,
            betas=settings.optimiser.betas,
            fused=True,  # one pass over the weights instead of a dozen
        )
        self.judges_optimiser = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=settings.discriminator.lr,
            betas=settings.discriminator.betas,
            fused=True,
        )
        self._weights = list(self.generator.parameters())
        self._judges_weights = list(self.discriminator.parameters())
        self._mode: bool | None = None
        self.step = self.samples = self.skipped = self._skipped_in_a_row = 0

    def state(self) -> dict[str, object]:
        """Everything that decides how the run goes on, but for the settings."""
        return {
            "step": self.step,
            "samples": self.samples,
            "skipped": self.skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
            "random": torch.get_rng_state(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a `state`."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])  # type: ignore[arg-type]
        self.step, self.samples, self.skipped, self._skipped_in_a_row = (
            int(state[name])  # type: ignore[call-overload]
            for name in ("step", "samples", "skipped", "skipped_in_a_row")
        )
        torch.set_rng_state(state["random"])  # type: ignore[arg-type]

    def advance(self, batch: Batch) -> dict[str, Tensor]:
        """Do one step.

        Returns:
            Each part of the loss before its weight, their weighted sum ``total``, and the gradient's length, as
            scalars on the device; nothing where the step was skipped.

        Raises:
            TrainingError: More than `MAX_SKIPPED` steps in a row were skipped.
        """
        stage = stage_at(self.settings, self.step)[1]
        self._prepare(stage)
        found = self._gradients(batch, stage)
        if self._finite(found, stage):
            self.optimiser.step()
            if stage.adversarial:
                self.judges_optimiser.step()
            self._skipped_in_a_row = 0
        else:
            self._skip()
            found = {}
        self.average.update(self.step)
        self.step += 1
        self.samples += len(batch.mask)
        return found

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "average": self.average.network,
            "discriminator": self.discriminator,
            "optimiser": self.optimiser,
            "judges_optimiser": self.judges_optimiser,
        }

    def _prepare(self, stage: Stage) -> None:
        share = rate(self.settings, self.step)
        for optimiser, highest in (
            (self.optimiser, self.settings.optimiser.lr),
            (self.judges_optimiser, self.settings.discriminator.lr),
        ):
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = share * highest
        if self._mode != stage.frozen_norm:
            self.generator.train()
            for module in self.generator.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.train(not stage.frozen_norm)
            self._mode = stage.frozen_norm

    def _gradients(self, batch: Batch, stage: Stage) -> dict[str, Tensor]:
        """Gradients of both networks, and the losses that they are of."""
        picture, mask, truth = batch.floats(self.device)
        weights = self.settings.losses
        prediction = self.generator.predict(picture, mask)
        parts = {"hole": losses.hole(prediction, truth, mask), "known": losses.known(prediction, truth, mask)}
        if weights.log_error:
            parts["log_error"] = losses.log_error(prediction, truth, mask)
        if weights.gradient:
            parts["gradient"] = losses.gradient(prediction, truth, mask)
        if weights.frequency:
            parts["frequency"] = losses.frequency(prediction, truth, mask, weights.frequency_alpha)
        judged = self._judged(prediction, truth, mask, parts) if stage.adversarial else {}
        total = torch.stack([getattr(weights, name) * part for name, part in parts.items()]).sum()
        total.backward(inputs=self._weights, retain_graph=bool(judged))  # type: ignore[no-untyped-call]
        if judged:  # on the same graph, so that its network runs but once for each picture
            judgement = torch.stack(list(judged.values())).sum()
            judgement.backward(inputs=self._judges_weights)  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._weights, self.settings.optimiser.clip_norm)
        return {name: value.detach() for name, value in {**parts, **judged, "total": total, "norm": norm}.items()}

    def _judged(self, prediction: Tensor, truth: Tensor, mask: Tensor, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the generator's adversarial parts, and return the discriminator's own.

        It is shown the composite, as a user is: seams are among what it can find.
        """
        weights = self.settings.losses
        penalised = weights.r1 > 0 and self.step % weights.r1_every == 0
        shown = truth.clone().requires_grad_() if penalised else truth
        real, real_features = self.discriminator(shown)
        fake, fake_features = self.discriminator(losses.composite(prediction, truth, mask))
        parts["adversarial"] = losses.adversarial(fake, mask)
        parts["features"] = losses.features(fake_features, real_features)
        judged = {"discriminator": losses.discriminator(real, fake, mask)}
        if penalised:
            judged["r1"] = weights.r1 * weights.r1_every * losses.gradient_penalty(real, shown)
        return judged

    def _finite(self, found: dict[str, Tensor], stage: Stage) -> bool:
        values = [found["total"], found["norm"]]
        if stage.adversarial:
            slopes = [weight.grad for weight in self._judges_weights if weight.grad is not None]
            values += [found["discriminator"], nn.utils.get_total_norm(slopes)]
        return bool(torch.isfinite(torch.stack(values)).all())

    @torch.no_grad()
    def _skip(self) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > MAX_SKIPPED:
            raise TrainingError(
                f"The loss was not finite in {self._skipped_in_a_row} steps in a row, up to step {self.step + 1}; "
                "a lower optimiser.lr may help."
            )
        # The forward pass has put what it saw into the running statistics; the average holds the last good ones.
        for present, average in zip(self.generator.buffers(), self.average.network.buffers(), strict=True):
            if not bool(torch.isfinite(present).all()):
                present.copy_(average)


def _begun(settings: Settings) -> LamaGenerator:
    """The generator's first weights."""
    generator = LamaGenerator(settings.generator.config())
    initial.quiet(generator)
    if settings.generator.start == "filler":
        initial.filler(generator)
    return generator


def _groups(network: nn.Module, decay: float) -> Iterable[dict[str, object]]:
    """Weights that decay, and gains and biases, which do not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
