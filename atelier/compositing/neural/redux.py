"""FLUX.1-Redux: a picture of an object as tokens that FLUX.1-Fill reads behind those of the prompt."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from PIL import Image
from torch import Tensor

from atelier.compositing.jobs import Pixels
from atelier.compositing.neural.flux_folders import Opened
from atelier.compositing.neural.flux_loading import OnStage, assemble, describe, load_networks
from atelier.compositing.neural.holding import Holding
from atelier.compositing.neural.pictures import square


class Redux:
    """SigLIP and the layers that lead its tokens into the width of T5's.

    Args:
        opened: the folder.
        holding: how it is held; it is never quantised, and waits on the host where anything is offloaded.
        on_stage: told what is loaded.

    Attributes:
        facts: for the report.
    """

    def __init__(self, opened: Opened, holding: Holding, on_stage: OnStage) -> None:
        held = Holding(holding.device, holding.dtype)
        networks = load_networks(opened, held, on_stage)
        # Without text encoders its own call would take zeros for the prompt, so that it is not called: the prompt's
        # tokens are those of the pipeline that it is used with.
        without = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
        self._pipe = assemble(diffusers.FluxPriorReduxPipeline, opened, networks | without, held)
        self.facts: dict[str, Any] = describe(opened, networks, held)
        self._device = torch.device(holding.device)
        self._parked = self._device if holding.offload == "none" else torch.device("cpu")
        self._move(self._parked)

    @torch.no_grad()
    def __call__(self, picture: Pixels) -> Tensor:
        """Tokens of an object.

        Args:
            picture: RGBA [h, w, 4].

        Returns:
            [1, N, C], on the device; 729 tokens for the published network.
        """
        self._move(self._device)
        try:
            seen = self._pipe.encode_image(Image.fromarray(square(picture)), self._device, 1)
            tokens: Tensor = self._pipe.image_embedder(seen).image_embeds
        finally:
            self._move(self._parked)
        return tokens.to(self._device)

    def _move(self, device: torch.device) -> None:
        for network in (self._pipe.image_encoder, self._pipe.image_embedder):
            network.to(device)
