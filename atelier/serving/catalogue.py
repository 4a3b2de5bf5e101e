"""The published weights that Atelier's models read: where they are, whose licence they have, and where they belong."""

from __future__ import annotations

from dataclasses import dataclass

from atelier.errors import InvalidInput

FLUX_LICENCE = "FLUX.1 [dev] Non-Commercial"
_TEXTS = ("LICENSE*", "README.md")  # they stay beside the weights


@dataclass(frozen=True)
class Weights:
    """Published weights.

    Attributes:
        name: what they are pulled by.
        repository: on the Hugging Face hub.
        folder: under ``weights/``, where the models look for them.
        models: that use them.
        licence: its name.
        commercial: whether it allows commercial use.
        gated: whether the hub asks for an account that has accepted the licence.
        files: patterns of what is fetched; of the rest of a repository, nothing is.
        layouts: patterns of files, one list for each layout that the models read; a folder is whole where one of them
            is.
        archive: a zip among the files whose content the folder is; empty: none.
        then: the command that makes something of them, or empty.
    """

    name: str
    repository: str
    folder: str
    models: tuple[str, ...]
    licence: str
    commercial: bool
    gated: bool
    files: tuple[str, ...]
    layouts: tuple[tuple[str, ...], ...]
    archive: str = ""
    then: str = ""


def _folders(*names: str) -> tuple[str, ...]:
    """Patterns of a repository in diffusers' layout: its index, and these folders' configurations and safetensors."""
    kinds = ("*.json", "*.safetensors", "*.txt", "*.model")
    return ("model_index.json", *(f"{name}/{kind}" for name in names for kind in kinds))


def _networks(*names: str) -> tuple[str, ...]:
    """What the folders of networks must hold."""
    return tuple(f"{name}/{file}" for name in names for file in ("config.json", "*.safetensors"))


_WAN = ("transformer", "text_encoder", "vae")
_FILL = ("transformer", "text_encoder", "text_encoder_2", "vae")
_REDUX = ("image_encoder", "image_embedder")
_SCHEDULER = "scheduler/scheduler_config.json"

CATALOGUE: tuple[Weights, ...] = (
    Weights(
        name="lama",
        repository="smartywu/big-lama",
        folder="big-lama",
        models=("lama",),
        licence="Apache-2.0",
        commercial=True,
        gated=False,
        files=("big-lama.zip", *_TEXTS),
        layouts=(("config.yaml", "models/best.ckpt"),),
        archive="big-lama.zip",
        then="python -m export lama --checkpoint {folder} --version 2",
    ),
    Weights(
        name="gvm",
        repository="geyongtao/gvm",
        folder="gvm",
        models=("matte",),
        licence="academic use alone",
        commercial=False,
        gated=False,
        files=(*_folders("unet", "vae", "scheduler"), *_TEXTS),
        layouts=((*_networks("unet", "vae"), _SCHEDULER),),
        then="python -m export gvm --checkpoint {folder}",
    ),
    Weights(
        name="wan2.2-ti2v-5b",
        repository="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        folder="wan2.2-ti2v-5b",
        models=("generate",),
        licence="Apache-2.0",
        commercial=True,
        gated=False,
        files=(*_folders(*_WAN, "tokenizer", "scheduler"), *_TEXTS),
        layouts=(
            ("model_index.json", *_networks(*_WAN), "tokenizer/tokenizer_config.json", _SCHEDULER),
            ("config.json", "*.safetensors", "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.2_VAE.pth"),
        ),
    ),
    Weights(
        name="flux.1-fill-dev",
        repository="black-forest-labs/FLUX.1-Fill-dev",
        folder="flux.1-fill-dev",
        models=("object_synthesizer",),
        licence=FLUX_LICENCE,
        commercial=False,
        gated=True,
        files=(*_folders(*_FILL, "tokenizer", "tokenizer_2", "scheduler"), *_TEXTS),
        layouts=(("model_index.json", *_networks(*_FILL), _SCHEDULER),),
    ),
    Weights(
        name="flux.1-redux-dev",
        repository="black-forest-labs/FLUX.1-Redux-dev",
        folder="flux.1-redux-dev",
        models=("object_synthesizer",),
        licence=FLUX_LICENCE,
        commercial=False,
        gated=True,
        files=(*_folders(*_REDUX, "feature_extractor"), *_TEXTS),
        layouts=(("model_index.json", *_networks(*_REDUX), "feature_extractor/preprocessor_config.json"),),
    ),
    Weights(
        name="flux.2-klein-4b",
        repository="black-forest-labs/FLUX.2-klein-4B",
        folder="flux.2-klein-4b",
        models=("object_synthesizer",),
        licence="Apache-2.0",
        commercial=True,
        gated=False,
        files=(*_folders("transformer", "text_encoder", "vae", "tokenizer", "scheduler"), "*/*.jinja", *_TEXTS),
        layouts=(("model_index.json", *_networks("transformer", "text_encoder", "vae"), _SCHEDULER),),
    ),
    Weights(
        name="qwen2-vl-7b-instruct",
        repository="Qwen/Qwen2-VL-7B-Instruct",
        folder="qwen2-vl-7b-instruct",
        models=("background_analyzer",),
        licence="Apache-2.0",
        commercial=True,
        gated=False,
        files=("*.json", "*.safetensors", "*.txt", "*.jinja", *_TEXTS),
        layouts=(("config.json", "*.safetensors", "tokenizer.json", "preprocessor_config.json"),),
    ),
    Weights(
        name="sam2.1-hiera-large",
        repository="facebook/sam2.1-hiera-large",
        folder="sam2.1-hiera-large",
        models=("object_extractor",),
        licence="Apache-2.0",
        commercial=True,
        gated=False,
        files=("*.json", "model.safetensors", *_TEXTS),
        layouts=(("config.json", "model.safetensors"),),
    ),
    Weights(
        name="birefnet",
        repository="ZhengPeng7/BiRefNet",
        folder="birefnet",
        models=("object_extractor",),
        licence="MIT",
        commercial=True,
        gated=False,
        files=("config.json", "*.py", "model.safetensors", *_TEXTS),
        layouts=(("config.json", "birefnet.py", "model.safetensors"),),
    ),
    Weights(
        name="rmbg-2.0",
        repository="briaai/RMBG-2.0",
        folder="rmbg-2.0",
        models=("object_extractor",),
        licence="CC BY-NC 4.0 (Bria)",
        commercial=False,
        gated=True,
        files=("config.json", "preprocessor_config.json", "*.py", "model.safetensors", *_TEXTS),
        layouts=(("config.json", "birefnet.py", "model.safetensors"),),
    ),
)
"""Sources of names and licences: the repositories' own cards; checked against third parties' uses of them, not here
downloaded."""


def find(name: str) -> Weights:
    """The weights of a name.

    Raises:
        InvalidInput: there are none.
    """
    for weights in CATALOGUE:
        if weights.name == name:
            return weights
    names = ", ".join(weights.name for weights in CATALOGUE)
    raise InvalidInput(f"There are no weights {name!r} in the catalogue; there are: {names}.")
