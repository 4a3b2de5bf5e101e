"""Wan2.2 TI2V-5B from disk, in either layout: diffusers' folders, or the files of Wan's own repository.

Nothing is fetched. Settings, names and shapes of all parts are checked before the first weight is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5Config, UMT5EncoderModel

from atelier.generation import original
from atelier.generation.errors import CheckpointError
from atelier.weights import Part, check, digest, fill, open_files, read_json, reason, require, weight_files

__all__ = ["CheckpointError", "Components", "Layout", "load_components", "load_transformer"]

Layout = Literal["diffusers", "original"]

_STEMS = {"text_encoder": "model", "transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
_ACCEPTED = "accepted: Wan2.2 TI2V-5B"
_SECOND_NAME = "encoder.embed_tokens.weight"  # the text encoder's second name for its one embedding


@dataclass(frozen=True)
class Components:
    """A loaded checkpoint. All networks are in eval mode, without gradients.

    Attributes:
        tokenizer: of the prompts.
        text_encoder, transformer, vae: the networks.
        scheduler: settings of diffusers' scheduler, its ``_class_name`` among them.
        layout: how the checkpoint lies on disk.
        digest: of its files; see `atelier.weights.digest`.
    """

    tokenizer: PreTrainedTokenizerBase
    text_encoder: UMT5EncoderModel
    transformer: WanTransformer3DModel
    vae: AutoencoderKLWan
    scheduler: dict[str, Any]
    layout: Layout
    digest: str


def load_components(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    vae_dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    on_stage: Callable[[str], None] | None = None,
) -> Components:
    """Load a whole checkpoint.

    Args:
        folder: diffusers' layout (``model_index.json`` and a folder a component) or the original one (``config.json``,
            ``diffusion_pytorch_model*.safetensors``, T5 and VAE as ``.pth``, ``google/umt5-xxl``).
        dtype: of text encoder and transformer. What diffusers and transformers keep in float32 stays so.
        vae_dtype: of the VAE; Wan runs it in float32.
        device: of the networks.
        on_stage: called with ``text_encoder``, ``transformer`` and ``vae``, each after it is loaded.

    Raises:
        CheckpointError: files are missing (each is named), unreadable, of another model, or do not fit together.
    """
    folder = Path(folder).absolute()
    layout = _layout(folder)
    files = _diffusers_files(folder) if layout == "diffusers" else _original_files(folder)
    require(folder, files)
    if layout == "diffusers":
        scheduler = read_json(folder / "scheduler", "scheduler_config.json")
        tokenizer = _load_tokenizer(folder / "tokenizer")
        parts = {name: _diffusers_part(name, folder / name) for name in _STEMS}
    else:
        scheduler = dict(original.SCHEDULER)
        tokenizer = _load_tokenizer(folder / original.TOKENIZER_FOLDER)
        parts = _original_parts(folder)
    for part in parts.values():
        check(part)
    modules: dict[str, Any] = {name: part.module for name, part in parts.items()}
    _check_together(modules, tokenizer.vocab_size)  # without T5's extra tokens, which transformers adds unasked
    for name, part in parts.items():
        _load(part, vae_dtype if name == "vae" else dtype, device)
        if on_stage is not None:
            on_stage(name)
    return Components(tokenizer, **modules, scheduler=scheduler, layout=layout, digest=digest(folder, files))


def load_transformer(
    path: Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> WanTransformer3DModel:
    """Load the transformer alone, in either layout.

    Args:
        path: a whole checkpoint's folder, a folder with the transformer's ``config.json`` and weights, or a
            safetensors file with all weights and ``config.json`` beside it.
        dtype: of its weights; what diffusers keeps in float32 stays so.
        device: where to.

    Raises:
        CheckpointError: as for `load_components`.
    """
    part = _open_transformer(path)
    _load(part, dtype, device)
    return cast(WanTransformer3DModel, part.module)


def describe_transformer(path: Path) -> WanTransformer3DModel:
    """The transformer without its weights, on PyTorch's meta device: what layers it has, and of what shapes.

    Args:
        path: as for `load_transformer`.

    Raises:
        CheckpointError: as for `load_components`.
    """
    return cast(WanTransformer3DModel, _open_transformer(path).module)


def _open_transformer(path: Path) -> Part:
    path = Path(path).absolute()
    file = path.name if path.suffix == ".safetensors" else None
    folder = path.parent if file else path
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder.name}.")
    if file is None and (folder / "model_index.json").is_file():
        _check_index(folder)
        folder = folder / "transformer"
    files = [file] if file else weight_files(folder, original.TRANSFORMER_STEM)
    require(folder, ["config.json", *files])
    if read_json(folder, "config.json").get("_class_name") == "WanTransformer3DModel":
        part = _diffusers_part("transformer", folder, files)
    else:
        part = _original_transformer(folder, files)
    check(part)
    return part


def _layout(folder: Path) -> Layout:
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder.name}, which is to hold Wan2.2 TI2V-5B.")
    if (folder / "model_index.json").is_file():
        _check_index(folder)
        return "diffusers"
    if (folder / "high_noise_model").is_dir() or (folder / "low_noise_model").is_dir():
        raise CheckpointError(f"{folder.name} holds a model of two experts, Wan2.2 A14B; {_ACCEPTED}.")
    if any((folder / name).is_dir() for name in _STEMS):
        return "diffusers"  # without its index, which is then named as missing
    known = (f"{original.TRANSFORMER_STEM}*", original.TEXT_ENCODER_FILE, original.VAE_FILE)
    if any(any(folder.glob(pattern)) for pattern in known):
        return "original"
    raise CheckpointError(
        f"{folder.name} is no checkpoint of Wan: it holds neither model_index.json (diffusers' layout) nor "
        f"{original.TRANSFORMER_STEM}*.safetensors, {original.TEXT_ENCODER_FILE} and {original.VAE_FILE} (Wan's own)."
    )


def _check_index(folder: Path) -> None:
    index = read_json(folder, "model_index.json")
    found = index.get("_class_name")
    if found not in _PIPELINES:
        raise CheckpointError(f"{folder.name}/model_index.json describes a {found}; {_ACCEPTED}, a WanPipeline.")
    second = index.get("transformer_2")
    if isinstance(second, list) and any(second):
        raise CheckpointError(f"{folder.name} holds a model of two experts, Wan2.2 A14B; {_ACCEPTED}.")
    if index.get("expand_timesteps") is not True:
        raise CheckpointError(
            f"{folder.name}/model_index.json has no expand_timesteps, so it is another model of Wan's; {_ACCEPTED}."
        )


def _diffusers_files(folder: Path) -> list[str]:
    files = ["model_index.json", "scheduler/scheduler_config.json", *_tokenizer_files(folder, "tokenizer")]
    for name, stem in _STEMS.items():
        files.append(f"{name}/config.json")
        if (folder / name / f"{stem}.safetensors.index.json").is_file():
            files.append(f"{name}/{stem}.safetensors.index.json")
        files += [f"{name}/{file}" for file in weight_files(folder / name, stem)]
    return files


def _original_files(folder: Path) -> list[str]:
    files = ["config.json", original.TEXT_ENCODER_FILE, original.VAE_FILE]
    files += _tokenizer_files(folder, original.TOKENIZER_FOLDER)
    if (folder / f"{original.TRANSFORMER_STEM}.safetensors.index.json").is_file():
        files.append(f"{original.TRANSFORMER_STEM}.safetensors.index.json")
    return files + weight_files(folder, original.TRANSFORMER_STEM)


def _tokenizer_files(folder: Path, name: str) -> list[str]:
    """The tokenizer is in one of two files, either of which will do."""
    sentencepiece = not (folder / name / "tokenizer.json").is_file() and (folder / name / "spiece.model").is_file()
    return [f"{name}/tokenizer_config.json", f"{name}/{'spiece.model' if sentencepiece else 'tokenizer.json'}"]


def _diffusers_part(name: str, folder: Path, files: list[str] | None = None) -> Part:
    config = read_json(folder, "config.json")
    tensors = open_files(folder, files if files is not None else weight_files(folder, _STEMS[name]))
    where = f"The checkpoint in {folder.name}"
    if name == "text_encoder":
        if (found := config.get("model_type")) != "umt5":
            raise CheckpointError(f"{folder.name}/config.json describes a {found}; accepted: umt5.")
        if _SECOND_NAME in tensors:
            embedding = tensors.pop(_SECOND_NAME)
            tensors.setdefault("shared.weight", embedding)
        return _part(where, UMT5EncoderModel, config, tensors, str)
    model: Any = {"transformer": WanTransformer3DModel, "vae": AutoencoderKLWan}[name]
    if (found := config.get("_class_name")) != model.__name__:
        raise CheckpointError(f"{folder.name}/config.json describes a {found}; accepted: {model.__name__}.")
    return _part(where, model, config, tensors, str)


def _original_parts(folder: Path) -> dict[str, Part]:
    return {
        "text_encoder": _original_text_encoder(folder),
        "transformer": _original_transformer(folder),
        "vae": _original_vae(folder),
    }


def _original_transformer(folder: Path, files: list[str] | None = None) -> Part:
    config = read_json(folder, "config.json")
    tensors = open_files(folder, files if files is not None else weight_files(folder, original.TRANSFORMER_STEM))
    settings = original.transformer_config(config, tensors, folder.name)
    where = f"The transformer in {folder.name}"
    return _part(where, WanTransformer3DModel, settings, tensors, original.transformer_name)


def _original_text_encoder(folder: Path) -> Part:
    tensors = open_files(folder, [original.TEXT_ENCODER_FILE])
    settings = original.text_encoder_config(tensors, original.TEXT_ENCODER_FILE)
    return _part(original.TEXT_ENCODER_FILE, UMT5EncoderModel, settings, tensors, original.text_encoder_name)


def _original_vae(folder: Path) -> Part:
    tensors = open_files(folder, [original.VAE_FILE])
    settings = original.vae_config(tensors, original.VAE_FILE)

    def name(parameter: str) -> str:
        return original.vae_name(parameter, settings["num_res_blocks"])

    return _part(original.VAE_FILE, AutoencoderKLWan, settings, tensors, name)


def _part(
    where: str, model: Any, config: Mapping[str, Any], tensors: dict[str, torch.Tensor], name: Callable[[str], str]
) -> Part:
    """A network by its settings, without memory for weights that are replaced at once."""
    try:
        with init_empty_weights(include_buffers=False):  # buffers are computed, and in no file
            if model is UMT5EncoderModel:
                module: Any = model(UMT5Config.from_dict(dict(config)))
                module.set_input_embeddings(module.shared)
            else:
                known = inspect.signature(model.__init__).parameters
                module = model(**{key: value for key, value in config.items() if key in known})
    except Exception as error:  # wrong settings make the libraries raise anything, UnboundLocalError for one
        raise CheckpointError(f"{where}: the settings do not describe a network: {reason(error)}") from None
    parameters = [parameter for parameter in module.state_dict() if parameter != _SECOND_NAME]
    return Part(where, module, tensors, {parameter: name(parameter) for parameter in parameters})


def _load(part: Part, dtype: torch.dtype, device: str | torch.device) -> None:
    module: Any = part.module
    keep: list[str] = list(module._keep_in_fp32_modules or ())
    if isinstance(module, UMT5EncoderModel) and dtype != torch.float16:
        keep = []  # transformers keeps these for float16 alone, diffusers for every type
    fill(part, dtype, keep, device)


def _check_together(modules: Mapping[str, Any], vocabulary: int) -> None:
    transformer, vae, text = (modules[name].config for name in ("transformer", "vae", "text_encoder"))
    if not transformer.in_channels == transformer.out_channels == vae.z_dim:
        raise CheckpointError(
            f"The transformer has {transformer.in_channels} and {transformer.out_channels} channels, the VAE's latents "
            f"{vae.z_dim}: they are not of one model."
        )
    if transformer.text_dim != text.d_model:
        raise CheckpointError(
            f"The transformer takes texts of width {transformer.text_dim}, the text encoder's are {text.d_model} wide."
        )
    if vocabulary > text.vocab_size:
        raise CheckpointError(f"The tokenizer has {vocabulary} tokens, the text encoder {text.vocab_size}.")


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the tokenizers library raises nothing more precise
        said = reason(error).replace(str(folder), folder.name)
        raise CheckpointError(f"The tokenizer in {folder.name} cannot be read: {said}") from None
    return tokenizer
