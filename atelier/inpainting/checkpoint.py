"""LaMa checkpoints: upstream's folder, a ``.ckpt`` beside its ``config.yaml``, or a TorchScript ``big-lama.pt``.

Layouts as advimman/lama (Apache-2.0) writes them. Only ``generator.*`` is read: a checkpoint also carries the
discriminator and evaluator networks of its training.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from atelier.inpainting.archive import Archive, CheckpointError, TensorRef, module_tensors, state_dict_tensors
from atelier.inpainting.config import GeneratorConfig, read_config
from atelier.inpainting.fourier import TransformName
from atelier.inpainting.generator import LamaGenerator

__all__ = ["CheckpointError", "checkpoint_file", "config_file", "infer_config", "load_generator"]

_PREFIX = "generator."
_LISTED = 3  # names in an error message
_ANCHOR = "model.1.ffc.convl2l.weight"  # the first convolution, which every generator has


def load_generator(path: str | Path, *, transform: TransformName = "fft") -> LamaGenerator:
    """Load LaMa's generator, without running any code that the file may hold.

    Args:
        path: Upstream's folder (``config.yaml`` and ``models/best.ckpt``), a ``.ckpt`` with its ``config.yaml`` beside
            it or one folder up, or a TorchScript archive such as ``big-lama.pt``. The last needs no ``config.yaml``:
            the settings are read off the weights, and the output is taken to be a sigmoid, as in all published models.
        transform: How the Fourier units transform; see `atelier.inpainting.fourier`.

    Returns:
        The network in eval mode, float32, on the CPU: ``forward(image, mask)`` with ``image`` B x 3 x H x W in 0..1 and
        ``mask`` B x 1 x H x W in {0, 1} returns B x 3 x H x W in 0..1, the picture with its hole filled.

    Raises:
        CheckpointError: A file is missing, unreadable or cut short, or its weights do not fit the network.
        ConfigError: ``config.yaml`` describes a network that is not supported.
    """
    file = checkpoint_file(path)
    with Archive(file) as archive:
        if archive.is_torchscript:
            refs = _generator_part(dict(module_tensors(archive.root)), file.name)
            config = infer_config({name: ref.shape for name, ref in refs.items()})
        else:
            config = read_config(config_file(file))
            refs = {
                name.removeprefix(_PREFIX): ref
                for name, ref in state_dict_tensors(archive.root)
                if name.startswith(_PREFIX)
            }
            if not refs:
                raise CheckpointError(f"{file.name} holds no tensor named {_PREFIX}*: it is not a LaMa checkpoint.")
        return _build(config, refs, archive, transform)


def checkpoint_file(path: str | Path) -> Path:
    """The file that holds the weights: ``path`` itself, or ``models/best.ckpt`` of upstream's folder.

    Raises:
        CheckpointError: It is not there.
    """
    path = Path(path)
    if path.is_dir():
        file = path / "models" / "best.ckpt"
        if not file.is_file():
            raise CheckpointError(f"{path.name} holds no models/best.ckpt, which a LaMa folder has beside config.yaml.")
        return file
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path.name}.")
    return path


def config_file(checkpoint: Path) -> Path:
    """The ``config.yaml`` that belongs to a ``.ckpt``: beside it, or one folder up.

    Raises:
        CheckpointError: It is not there.
    """
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        if (folder / "config.yaml").is_file():
            return folder / "config.yaml"
    raise CheckpointError(f"There is no config.yaml beside {checkpoint.name}, nor one folder up.")


def _generator_part(refs: Mapping[str, TensorRef], name: str) -> dict[str, TensorRef]:
    """The generator's tensors of a TorchScript module, whatever that module wraps around the generator."""
    prefixes = [key.removesuffix(_ANCHOR) for key in refs if key.endswith(_ANCHOR)]
    if len(prefixes) != 1:
        raise CheckpointError(
            f"{name} is a TorchScript archive without the layers of a LaMa generator; traced, not frozen, is expected."
        )
    return {key.removeprefix(prefixes[0]): ref for key, ref in refs.items() if key.startswith(prefixes[0])}


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> GeneratorConfig:
    """Read a generator's settings off the shapes of its tensors.

    Args:
        shapes: Tensor names, ``model.…``, and shapes.

    Raises:
        CheckpointError: They are not those of a LaMa generator.
    """
    try:
        ngf = shapes[_ANCHOR][0]
        split = next(index for index in range(2, 5) if f"model.{index}.ffc.convl2g.weight" in shapes)
        local = shapes[f"model.{split}.ffc.convl2l.weight"][0]
        global_ = shapes[f"model.{split}.ffc.convl2g.weight"][0]
    except (KeyError, IndexError, StopIteration) as error:
        raise CheckpointError("The weights have no local and global half: they are not a LaMa generator's.") from error
    blocks = sum(bool(re.fullmatch(r"model\.\d+\.conv1\.ffc\.convl2l\.weight", name)) for name in shapes)
    ratio = global_ / (local + global_)
    if int((local + global_) * ratio) < global_:  # the division may have been rounded down
        ratio = math.nextafter(ratio, 1.0)
    return GeneratorConfig(
        ngf=ngf, n_downsampling=split - 1, n_blocks=blocks, max_features=local + global_, global_ratio=ratio
    )


def _build(
    config: GeneratorConfig, refs: Mapping[str, TensorRef], archive: Archive, transform: TransformName
) -> LamaGenerator:
    with torch.device("meta"):  # no memory, and no random numbers, for weights that are replaced at once
        generator = LamaGenerator(config, transform)
    expected = generator.state_dict()
    _refuse("lacks", [name for name in expected if name not in refs])
    _refuse("has unexpected", [name for name in refs if name not in expected])
    _refuse(
        "has wrong shapes of",
        [
            f"{name} ({list(refs[name].shape)} instead of {list(tensor.shape)})"
            for name, tensor in expected.items()
            if refs[name].shape != tuple(tensor.shape)
        ],
    )
    weights = {name: _weight(name, archive.tensor(refs[name]), like) for name, like in expected.items()}
    generator.load_state_dict(weights, assign=True)
    return generator.eval().requires_grad_(False)


def _weight(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    if tensor.is_floating_point() != like.is_floating_point():
        raise CheckpointError(f"The checkpoint's tensor {_PREFIX}{name} holds {tensor.dtype}, not {like.dtype}.")
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"The checkpoint's tensor {_PREFIX}{name} holds values that are not finite.")
    return tensor.to(like.dtype)


def _refuse(what: str, names: list[str]) -> None:
    if names:
        listed = ", ".join(_PREFIX + name for name in names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise CheckpointError(f"The checkpoint {what} {len(names)} generator tensor(s): {listed}{more}.")
