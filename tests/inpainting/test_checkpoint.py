import collections
import os
import pickle
import shutil
import struct
import warnings
import zipfile

import pytest
import torch

from atelier.errors import InvalidInput
from atelier.inpainting import CheckpointError, GeneratorConfig, LamaGenerator, load_generator
from atelier.inpainting.checkpoint import infer_config
from tests.golden.lama.cases import FOLDER, golden

BEST = FOLDER / "models" / "best.ckpt"


@pytest.fixture(scope="module")
def plain():
    """The golden tensors, read by PyTorch itself from the file without foreign classes."""
    return torch.load(FOLDER / "models" / "best_plain.ckpt", weights_only=True)["state_dict"]


def save(folder, content, **options):
    """A LaMa folder around a checkpoint of this content."""
    (folder / "models").mkdir(parents=True)
    shutil.copy(FOLDER / "config.yaml", folder)
    torch.save(content, folder / "models" / "best.ckpt", **options)
    return folder


def assert_golden(generator, plain):
    weights = generator.state_dict()
    assert len(weights) == sum(name.startswith("generator.") for name in plain) > 100
    for name, tensor in weights.items():
        assert torch.equal(tensor, plain[f"generator.{name}"]), name


def test_upstreams_folder(plain):
    generator = load_generator(FOLDER)
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert_golden(generator, plain)


def test_a_ckpt_beside_its_config(tmp_path, plain):
    shutil.copy(BEST, tmp_path / "any.ckpt")
    shutil.copy(FOLDER / "config.yaml", tmp_path)
    assert_golden(load_generator(str(tmp_path / "any.ckpt")), plain)


def test_a_ckpt_below_its_config(plain):
    assert_golden(load_generator(BEST), plain)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
def test_both_layouts_of_pytorch(tmp_path, plain, zipped):
    weights = {name: torch.nn.Parameter(value) if value.is_floating_point() else value for name, value in plain.items()}
    folder = save(tmp_path, {"state_dict": weights}, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(folder / "models" / "best.ckpt") == zipped
    assert_golden(load_generator(folder), plain)


def test_views_and_narrow_types(tmp_path, plain):
    """Tensors that share a block, that are transposed in it, or stored in half precision."""
    weights = dict(plain)
    name = "generator.model.1.ffc.convl2l.weight"
    weights[name] = torch.stack([plain[name] + 1, plain[name]]).transpose(1, 2).contiguous().transpose(1, 2)[1]
    weights["generator.model.1.bn_l.weight"] = plain["generator.model.1.bn_l.weight"].half()
    loaded = load_generator(save(tmp_path, {"state_dict": weights})).state_dict()
    assert torch.equal(loaded["model.1.ffc.convl2l.weight"], plain[name])
    assert loaded["model.1.bn_l.weight"].dtype == torch.float32


class UpstreamJit(torch.nn.Module):
    """What upstream's to_jit.py traces: the training module around the generator."""

    def __init__(self, generator):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.generator = generator

    def forward(self, image, mask):
        return self.model.generator(image, mask)


def trace(path, freeze=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
        traced = torch.jit.trace(UpstreamJit(load_generator(FOLDER)).eval(), example, check_trace=False)
        if freeze:
            traced = torch.jit.freeze(traced)
        traced.save(str(path))
    return path


def test_a_torchscript_big_lama(tmp_path, plain):
    path = trace(tmp_path / "big-lama.pt")
    generator = load_generator(path)
    assert generator.config == GeneratorConfig(ngf=8, n_blocks=2, max_features=64)
    assert_golden(generator, plain)
    case = golden("oddbottleneck_72x104.npz")
    image, mask = case.tensors
    with torch.inference_mode():
        torch.testing.assert_close(generator(image, mask), torch.from_numpy(case.inpainted), rtol=0, atol=2e-5)


def test_torchscript_that_is_not_lama(tmp_path):
    with pytest.raises(CheckpointError, match=r"big-lama.pt is a TorchScript archive without the layers of a LaMa"):
        load_generator(trace(tmp_path / "big-lama.pt", freeze=True))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.6, 0.7, 0.75, 0.9])
@pytest.mark.parametrize(("ngf", "depth", "blocks"), [(8, 3, 2), (12, 2, 1), (7, 1, 3)])
def test_settings_are_read_off_the_weights(ngf, depth, blocks, ratio):
    config = GeneratorConfig(ngf=ngf, n_downsampling=depth, n_blocks=blocks, global_ratio=ratio)
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in LamaGenerator(config).state_dict().items()}
        inferred = infer_config(shapes)
        again = {name: tuple(value.shape) for name, value in LamaGenerator(inferred).state_dict().items()}
    assert shapes == again


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda w: [w.pop(name) for name in list(w) if "bn_g.weight" in name],
            r"lacks 5 generator tensor\(s\): generator.model.4.bn_g.weight, .* and 2 more\.",
        ),
        (
            lambda w: w.update({"generator.model.99.weight": torch.zeros(1)}),
            r"has unexpected 1 generator tensor\(s\): generator.model.99.weight\.",
        ),
        (
            lambda w: w.update({"generator.model.1.bn_l.bias": torch.zeros(9)}),
            r"has wrong shapes of 1 .*: generator.model.1.bn_l.bias \(\[9\] instead of \[8\]\)\.",
        ),
        (
            lambda w: w.update({"generator.model.1.bn_l.bias": torch.full((8,), torch.nan)}),
            "generator.model.1.bn_l.bias holds values that are not finite",
        ),
        (
            lambda w: w.update({"generator.model.1.bn_l.bias": torch.full((8,), torch.inf)}),
            "generator.model.1.bn_l.bias holds values that are not finite",
        ),
        (
            lambda w: w.update({"generator.model.1.bn_l.bias": torch.zeros(8, dtype=torch.int64)}),
            "generator.model.1.bn_l.bias holds torch.int64, not torch.float32",
        ),
        (lambda w: w.clear(), r"holds no tensor named generator\.\*"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, plain, change, sentence):
    weights = dict(plain)
    change(weights)
    with pytest.raises(CheckpointError, match=sentence):
        load_generator(save(tmp_path, {"state_dict": weights}))


def test_missing_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no checkpoint nothing.ckpt\."):
        load_generator(tmp_path / "nothing.ckpt")
    with pytest.raises(CheckpointError, match=r"holds no models/best.ckpt"):
        load_generator(tmp_path)
    shutil.copy(BEST, tmp_path / "any.ckpt")
    with pytest.raises(CheckpointError, match=r"no config.yaml beside any.ckpt, nor one folder up"):
        load_generator(tmp_path / "any.ckpt")


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, 200_000, 600_000, -1])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
def test_files_that_were_cut_short(tmp_path, plain, zipped, keep):
    file = save(tmp_path, {"state_dict": plain}, _use_new_zipfile_serialization=zipped) / "models" / "best.ckpt"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"best.ckpt (is not a PyTorch checkpoint|was cut short)") as caught:
        load_generator(tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_files_of_another_kind(tmp_path):
    shutil.copy(FOLDER / "config.yaml", tmp_path)
    for name, content in {"text.ckpt": b"weights, honestly", "pickle.ckpt": pickle.dumps({"state_dict": {}})}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name} is not a PyTorch checkpoint"):
            load_generator(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "pictures.ckpt", "w") as archive:
        archive.writestr("pictures/1.png", b"")
    with pytest.raises(CheckpointError, match=r"pictures.ckpt is a zip file, but not a PyTorch checkpoint"):
        load_generator(tmp_path / "pictures.ckpt")


# ------------------------------------------------------------------------------------------------ files that mean harm


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class State:
    """Pickles as a call whose result is then given a state."""

    def __init__(self, function, arguments, state):
        self.call = function, arguments, state

    def __reduce__(self):
        return self.call


def global_name(module, name):
    """A pickle, protocol 4, of an object named so: dotted names reach inside an object."""
    encoded = [part.encode() for part in (module, name)]
    return b"".join(b"\x8c" + struct.pack("<B", len(part)) + part for part in encoded) + b"\x93"


def with_pickle(path, pickled):
    """The golden checkpoint with its pickle replaced."""
    with zipfile.ZipFile(BEST) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            target.writestr(entry, pickled if entry.filename.endswith("data.pkl") else source.read(entry))
    shutil.copy(FOLDER / "config.yaml", path.parent)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize(
    "harm",
    [
        lambda mark: Call(os.system, f"touch {mark}"),
        lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
        lambda mark: Call(getattr, collections.OrderedDict, "mro"),
        lambda mark: Call(torch.load, str(mark)),
        lambda mark: Call(torch.save, {}, str(mark)),
        lambda mark: State(collections.OrderedDict, (), {"items": Call(os.system, f"touch {mark}")}),
        lambda mark: {Call(os.system, f"touch {mark}"): Call(eval, f"open({str(mark)!r}, 'w')")},
    ],
    ids=["system", "eval", "exec", "getattr", "load", "save", "state", "key"],
)
def test_a_checkpoint_runs_nothing(tmp_path, plain, harm, zipped):
    """The weights are read as if the rest were not there, and the rest does nothing."""
    mark = tmp_path / "mark"
    content = {"callbacks": harm(mark), "state_dict": plain, "hyper_parameters": [harm(mark)]}
    generator = load_generator(save(tmp_path, content, _use_new_zipfile_serialization=zipped))
    assert_golden(generator, plain)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    [
        ("collections", "OrderedDict.__init__.__globals__"),
        ("collections", "_sys.modules"),
        ("collections", "abc.sys"),
        ("torch._utils", "sys.modules"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch", "serialization.os.system"),
        ("torch", "FloatStorage.__init__"),
        ("torch.storage", "_load_from_bytes"),
        ("builtins", "__import__"),
        ("os", "system"),
    ],
    ids=".".join,
)
def test_names_that_look_allowed(tmp_path, name):
    """Called with a command, then asked for as the state dict: an inert stand-in in every case."""
    mark = tmp_path / "mark"
    command = f"touch {mark}".encode()
    argument = b"X" + struct.pack("<I", len(command)) + command
    pickled = b"\x80\x04}X\x0a\x00\x00\x00state_dict" + global_name(*name) + argument + b"\x85Rs."
    with pytest.raises(CheckpointError, match=r"holds no tensor named generator"):
        load_generator(with_pickle(tmp_path / "bad.ckpt", pickled))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["_rebuild_tensor_v2", "_rebuild_parameter"])
def test_known_functions_cannot_be_changed_for_the_next_load(tmp_path, plain, name):
    """A pickle may set attributes of what it is handed; here that is refused, and the next load is as ever."""
    state = b"N}X\x0c\x00\x00\x00__defaults__)s\x86b"
    pickled = b"\x80\x04" + global_name("torch._utils", name) + state + b"."
    with pytest.raises(CheckpointError, match="is not a PyTorch checkpoint"):
        load_generator(with_pickle(tmp_path / "bad.ckpt", pickled))
    assert_golden(load_generator(FOLDER), plain)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(0, (9,), (1,)), (1, (8,), (1,)), (-1, (8,), (1,)), (0, (2, 8), (8, 1)), (0, (1 << 40,), (0,)), (0, (8,), (-1,))],
)
def test_tensors_that_reach_beyond_their_numbers(tmp_path, plain, offset, shape, stride):
    """A view of 8 numbers, changed inside the pickle to one of memory that is not the file's."""

    class Lie:
        def __reduce__(self):
            storage = torch.zeros(8).untyped_storage()
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
            return torch._utils._rebuild_tensor_v2, (typed, offset, shape, stride, False, collections.OrderedDict())

    weights = {**plain, "generator.model.1.bn_l.bias": Lie()}
    with pytest.raises(InvalidInput, match=r"best.ckpt is not a PyTorch checkpoint, or it was cut short"):
        load_generator(save(tmp_path, {"state_dict": weights}))
