"""A random LaMa checkpoint, on disk as upstream's training leaves one: quirks of the layout included, weights not.

Its pictures are nonsense; its files go through every step that published ones do.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from atelier.inpainting.config import GeneratorConfig
from atelier.inpainting.generator import LamaGenerator
from export.errors import ExportError
from export.synthetic import Size

SETTINGS: dict[Size, GeneratorConfig] = {"tiny": GeneratorConfig(ngf=8, n_blocks=2), "full": GeneratorConfig()}

_CALIBRATION = (96, 128)  # height and width of the pictures that the statistics are taken from
_PREDICTION_SCALE = 1.0  # standard deviation before the sigmoid, which makes 0.2 of it
_GAIN_SPREAD, _OFFSET_SPREAD = 0.2, 0.1  # of batch normalisations: not 1 and 0, so that mixing them up shows

# As upstream writes it: interpolations inside the generator block, and outside of it ones that only upstream resolves.
_CONFIG = """\
run_title: synthetic_{size}_lama
training_model:
  kind: default
  visualize_each_iters: 1000
  concat_mask: true
  store_discr_outputs_for_vis: true
losses:
  l1:
    weight_missing: 0
    weight_known: 10
  resnet_pl:
    weight: 30
    weights_path: ${{env:TORCH_HOME}}
location:
  data_root_dir: /nonexistent/data
  out_root_dir: /nonexistent/${{env:USER}}/experiments
data:
  batch_size: 8
  train:
    indir: ${{location.data_root_dir}}/train
    out_size: 256
{generator}discriminator:
  kind: pix2pixhd_nlayer
  input_nc: 3
  ndf: 4
  n_layers: 3
trainer:
  kwargs:
    gpus: -1
    max_epochs: 200
    log_gpu_memory: None
    limit_train_batches: 25000
    val_check_interval: ${{trainer.kwargs.limit_train_batches}}
"""


def write(size: Size, output: Path, seed: int) -> None:
    """Write ``config.yaml`` and ``models/best.ckpt``.

    Args:
        size: ``tiny`` (8 channels, 2 blocks) or ``full`` (big-lama's settings, 204 MB).
        output: The folder, which is made where it is missing.
        seed: Seed of the weights; equal seeds give equal weights.

    Raises:
        ExportError: The folder cannot be written.
    """
    config = SETTINGS[size]
    generator = build(config, seed)
    file = output / "models" / "best.ckpt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        (output / "config.yaml").write_text(_CONFIG.format(size=size, generator=config.block()), encoding="utf-8")
        unfinished = file.with_suffix(".unfinished")
        with _uninstalled() as classes:
            torch.save(_lightning_layout(generator, classes), unfinished)
        unfinished.replace(file)
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror}.") from error


def build(config: GeneratorConfig, seed: int) -> LamaGenerator:
    """A random network whose activations are of trained size and whose predictions spread over 0..1, in eval mode."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _one_thread():
        torch.manual_seed(seed)
        generator = LamaGenerator(config)
        norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            nn.init.uniform_(norm.weight, 1 - _GAIN_SPREAD, 1 + _GAIN_SPREAD)
            nn.init.uniform_(norm.bias, -_OFFSET_SPREAD, _OFFSET_SPREAD)
            norm.momentum = 1.0  # keep the statistics of the last pictures alone
        image, mask = _pictures()
        generator.train().predict(image, mask)
        for norm in norms:
            norm.momentum = 0.1
        _spread(generator.eval(), image, mask)
    return generator


@contextmanager
def _one_thread() -> Iterator[None]:
    """The statistics are sums, and how many threads share a sum decides its last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _pictures() -> tuple[Tensor, Tensor]:
    """Smooth colours, noise, black blocks on white, and one grey, with a box cut out of each."""
    height, width = _CALIBRATION
    image = torch.empty(4, 3, height, width)
    image[0] = nn.functional.interpolate(torch.rand(1, 3, height // 16, width // 16), (height, width), mode="bilinear")
    image[1] = torch.rand(3, height, width)
    image[2] = (torch.rand(1, height // 4, width // 4) < 0.7).float().repeat_interleave(4, 1).repeat_interleave(4, 2)
    image[3] = 0.5
    mask = torch.zeros(4, 1, height, width)
    mask[:, :, height // 4 : height // 2, width // 4 : width // 2] = 1
    return image, mask


def _spread(generator: LamaGenerator, image: Tensor, mask: Tensor) -> None:
    """Scale the last convolution so that each colour's prediction is centred and wide."""
    last = next(layer for layer in reversed(generator.model) if isinstance(layer, nn.Conv2d))
    outputs: list[Tensor] = []
    handle = last.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    generator.predict(image, mask)
    handle.remove()
    gain = _PREDICTION_SCALE / outputs[0].std(dim=(0, 2, 3))
    last.weight *= gain[:, None, None, None]
    last.bias.copy_((last.bias - outputs[0].mean(dim=(0, 2, 3))) * gain)


def _lightning_layout(generator: LamaGenerator, classes: dict[str, type]) -> dict[str, object]:
    """As PyTorch Lightning 1.2.9 saves it: other networks' weights, a class as a key, OmegaConf objects."""
    weights = {f"generator.{name}": tensor for name, tensor in generator.state_dict().items()}
    weights["discriminator.model0.0.weight"] = torch.zeros(4, 3, 4, 4)
    weights["discriminator.model0.0.bias"] = torch.zeros(4)
    weights["val_evaluator.scores.ssim.window"] = torch.ones(1, 1, 11, 11) / 121
    weights["loss_resnet_pl.impl.conv1.weight"] = torch.zeros(4, 3, 7, 7)
    metadata = classes["ContainerMetadata"]()
    metadata.__dict__.update(key=None, flags={}, resolver_cache={})
    parameters = classes["DictConfig"]()
    parameters.__dict__.update(_metadata=metadata, _parent=None, _content={"run_title": "synthetic"})
    return {
        "epoch": 0,
        "global_step": 1,
        "pytorch-lightning_version": "1.2.9",
        "state_dict": weights,
        "callbacks": {classes["ModelCheckpoint"]: {"monitor": "val_ssim_fid100_f1_total_mean", "best_model_path": ""}},
        "lr_schedulers": [],
        "hparams_name": "config",
        "hyper_parameters": parameters,
        "hparams_type": classes["DictConfig"],
    }


@contextmanager
def _uninstalled() -> Iterator[dict[str, type]]:
    """Classes of packages that are not needed here, importable by their own names while they are pickled."""
    homes = {
        "ModelCheckpoint": "pytorch_lightning.callbacks.model_checkpoint",
        "DictConfig": "omegaconf.dictconfig",
        "ContainerMetadata": "omegaconf.base",
    }
    classes = {name: type(name, (), {"__module__": home}) for name, home in homes.items()}
    names = {home.rsplit(".", depth)[0] for home in homes.values() for depth in range(home.count(".") + 1)}
    earlier = {name: sys.modules.get(name) for name in names}
    try:
        for name in names:
            sys.modules[name] = ModuleType(name)
        for name, home in homes.items():
            setattr(sys.modules[home], name, classes[name])
        yield classes
    finally:
        for name, module in earlier.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
