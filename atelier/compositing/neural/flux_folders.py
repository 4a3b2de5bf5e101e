"""FLUX's folders, looked at before anything of them is loaded: an error names every missing file, and a wrong model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atelier.compositing.neural.loading import (
    CheckpointError,
    check_weights,
    digest,
    open_folder,
    read_json,
    require,
    shard_files,
)

_TOKENIZERS = (["tokenizer.json"], ["vocab.json", "merges.txt"], ["spiece.model"])
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}


@dataclass(frozen=True)
class Layout:
    """What a folder of diffusers' layout is to hold.

    Attributes:
        name: of the model.
        licence: of its weights.
        pipelines: classes that ``model_index.json`` may name.
        networks: library and class, by folder.
        tokenizers: folders.
        others: files of other folders.
    """

    name: str
    licence: str
    pipelines: tuple[str, ...]
    networks: Mapping[str, tuple[str, str]]
    tokenizers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


_NON_COMMERCIAL = "FLUX.1 [dev] Non-Commercial"
FILL = Layout(
    "FLUX.1-Fill",
    _NON_COMMERCIAL,
    ("FluxFillPipeline",),
    {
        "transformer": ("diffusers", "FluxTransformer2DModel"),
        "text_encoder_2": ("transformers", "T5EncoderModel"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    },
    ("tokenizer", "tokenizer_2"),
    ("scheduler/scheduler_config.json",),
)
REDUX = Layout(
    "FLUX.1-Redux",
    _NON_COMMERCIAL,
    ("FluxPriorReduxPipeline",),
    {
        "image_encoder": ("transformers", "SiglipVisionModel"),
        "image_embedder": ("diffusers", "ReduxImageEncoder"),
    },
    (),
    ("feature_extractor/preprocessor_config.json",),
)
KLEIN = Layout(
    "FLUX.2 klein",
    "Apache-2.0",
    ("Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
    {
        "transformer": ("diffusers", "Flux2Transformer2DModel"),
        "text_encoder": ("transformers", "Qwen3ForCausalLM"),
        "vae": ("diffusers", "AutoencoderKLFlux2"),
    },
    ("tokenizer",),
    ("scheduler/scheduler_config.json",),
)


@dataclass(frozen=True)
class Opened:
    """A folder that holds what it should.

    Attributes:
        folder: absolute.
        layout: of it.
        configs: settings of its networks, by folder.
        digest: of its files; see `atelier.weights.digest`.
    """

    folder: Path
    layout: Layout
    configs: dict[str, dict[str, Any]]
    digest: str


def open_checkpoint(folder: Path, layout: Layout, elsewhere: Collection[str] = ()) -> Opened:
    """Look at a folder.

    Args:
        folder: of the checkpoint.
        layout: that it is to have.
        elsewhere: networks whose weights come from another file; their settings are still needed.

    Raises:
        CheckpointError: it holds another model, lacks files, or files are damaged.
    """
    folder = open_folder(folder, layout.name)
    if (folder / "model_index.json").is_file():
        found = read_json(folder, "model_index.json").get("_class_name")
        if found not in layout.pipelines:
            raise CheckpointError(
                f"{folder.name}/model_index.json describes a {found}; accepted for {layout.name}: "
                f"{' or '.join(layout.pipelines)}."
            )
    files = ["model_index.json", *layout.others]
    for name in layout.tokenizers:
        files += _tokenizer_files(folder, name)
    for name, (library, _) in layout.networks.items():
        files.append(f"{name}/config.json")
        if name not in elsewhere:
            files += [f"{name}/{file}" for file in shard_files(folder / name, _STEMS[library])]
    require(folder, files)
    check_weights(folder, files)
    configs = {name: _config(folder, name, layout) for name in layout.networks}
    return Opened(folder, layout, configs, digest(folder, files))


def check_fill(opened: Opened) -> None:
    """Refuse what has FLUX.1-Fill's classes and is another model, or of which the parts do not fit together.

    Raises:
        CheckpointError: it is.
    """
    transformer, where = opened.configs["transformer"], opened.folder.name
    if (channels := transformer.get("in_channels")) != 384:
        raise CheckpointError(
            f"The transformer in {where} takes {channels} channels; FLUX.1-Fill's takes 384: latents, masked picture, "
            "mask."
        )
    _match(where, "T5's", opened.configs["text_encoder_2"].get("d_model"), transformer.get("joint_attention_dim"))
    _match(where, "CLIP's", opened.configs["text_encoder"].get("hidden_size"), transformer.get("pooled_projection_dim"))


def check_redux(opened: Opened, fill: Opened) -> None:
    """Refuse a Redux that is not of the Fill that it is used with.

    Raises:
        CheckpointError: its embeddings do not fit.
    """
    wide = fill.configs["transformer"].get("joint_attention_dim")
    _match(opened.folder.name, "Redux's", opened.configs["image_embedder"].get("txt_in_features"), wide)


def check_klein(opened: Opened) -> None:
    """Refuse parts that do not fit together.

    Raises:
        CheckpointError: they do not.
    """
    wide = opened.configs["text_encoder"].get("hidden_size")
    if isinstance(wide, int):  # three layers' states are read
        _match(opened.folder.name, "Qwen3's", 3 * wide, opened.configs["transformer"].get("joint_attention_dim"))


def _match(where: str, whose: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise CheckpointError(
            f"The parts in {where} are not of one model: {whose} embeddings are {found} wide, the transformer takes "
            f"{expected}."
        )


def _tokenizer_files(folder: Path, name: str) -> list[str]:
    """A tokenizer is in one of several forms, any of which will do."""
    for form in _TOKENIZERS:
        if all((folder / name / file).is_file() for file in form):
            break
    else:
        form = _TOKENIZERS[0]
    return [f"{name}/{file}" for file in ("tokenizer_config.json", *form)]


def _config(folder: Path, name: str, layout: Layout) -> dict[str, Any]:
    config = read_json(folder / name, "config.json")
    library, expected = layout.networks[name]
    found = config.get("_class_name") if library == "diffusers" else (config.get("architectures") or [None])[0]
    if found != expected:
        raise CheckpointError(f"{folder.name}/{name}/config.json describes a {found}; accepted: {expected}.")
    return config
