"""A run's result in the layout of upstream's checkpoints: what the exporter and everybody else reads.

``config.yaml``, ``models/best.ckpt``, and ``training.json``: where the weights come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from atelier.inpainting.checkpoint import load_generator
from training import log, state
from training.settings import Settings, parse

HALF_A_LEVEL = 0.5 / 255
"""Added to what a network without an activation predicts: what is served is cut to whole levels, as upstream cuts it,
so that a prediction of a level would come out as it or the one below, by the last bit."""

# The fields that upstream's own tools read.
_CONFIG = """\
run_title: lama_mini
training_model:
  kind: default
  concat_mask: true
losses:
  l1:
    weight_missing: {losses.hole}
    weight_known: {losses.known}
  adversarial:
    kind: r1
    weight: {losses.adversarial}
    mask_as_fake_target: true
  feature_matching:
    weight: {losses.features}
{generator}discriminator:
  kind: pix2pixhd_nlayer
  input_nc: 3
  ndf: {discriminator.ndf}
  n_layers: {discriminator.n_layers}
"""


def publish(run: Path, output: Path) -> Path:
    """Write the average weights of a run.

    Args:
        run: The folder of the run, finished or not.
        output: The folder to write to, made where it is missing.

    Returns:
        ``output``.

    Raises:
        StateError: There is no run.
        CheckpointError: What was written does not load. Nothing foreseen leads here.
        OSError: The folder cannot be written.
    """
    found = state.load(run)
    if found is None:
        raise state.StateError(f"There is no {state.NAME} in {run}.")
    settings = parse(found["settings"], state.NAME)
    weights = {
        f"generator.{name}": tensor.contiguous()
        for name, tensor in cast(Mapping[str, Tensor], found["average"]).items()
    }
    if settings.generator.activation == "none":
        last = max((name for name in weights if name.endswith(".bias")), key=lambda name: int(name.split(".")[2]))
        weights[last] = weights[last] + HALF_A_LEVEL
    (output / "models").mkdir(parents=True, exist_ok=True)
    checkpoint = output / "models" / "best.ckpt"
    unfinished = checkpoint.with_suffix(".unfinished")
    torch.save({"epoch": 0, "global_step": found["step"], "state_dict": weights}, unfinished)
    unfinished.replace(checkpoint)
    (output / "config.yaml").write_text(_config(settings), encoding="utf-8")
    summary = json.dumps(_summary(found, settings, log.read(run)), indent=2)
    (output / "training.json").write_text(f"{summary}\n", encoding="utf-8")
    load_generator(output)
    return output


def _config(settings: Settings) -> str:
    return _CONFIG.format(
        generator=settings.generator.config().block(),
        losses=settings.losses,
        discriminator=settings.discriminator,
    )


def _summary(found: Mapping[str, object], settings: Settings, records: list[log.Record]) -> dict[str, object]:
    validated = [record for record in records if record["event"] == "validation" and record["step"] <= found["step"]]
    return {
        "steps": found["step"],
        "steps_planned": settings.total_steps,
        "samples_seen": found["samples"],
        "steps_skipped": found["skipped"],
        "seconds": round(cast(float, found["seconds"])),
        "device": found["device"],
        "validation": validated[-1] if validated else None,
        "settings": settings.model_dump(mode="json"),
    }
