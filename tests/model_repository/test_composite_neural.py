"""`composite` and `composite_stream` with every stage's network, of tiny random checkpoints."""

import io
import json

import numpy as np
import pytest
from PIL import ExifTags, Image

from atelier.client import Client, InvalidRequest
from export.compositing.synthetic import write_birefnet, write_qwen2_vl, write_sam2
from export.flux.synthetic import write_fill, write_klein, write_redux
from tests.model_repository.composing import REPOSITORIES, file_of, pixels_of, scene

STAGES = ("background_analyzer", "object_extractor", "object_synthesizer")
"""Those with networks."""
BOX = (60, 30, 110, 110)
WISH = "마루 위의 빨간 상자"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    writers = {
        "qwen": write_qwen2_vl,
        "sam2": write_sam2,
        "birefnet": write_birefnet,
        "rmbg": write_birefnet,  # which has the same network
        "fill": write_fill,
        "redux": write_redux,
        "klein": write_klein,
    }
    for name, write in writers.items():
        write("tiny", folder / name, 0)
    return folder


def environment(folder, **changes):
    """Settings of the stages as variables; ``changes`` by stage."""
    settings = {
        "background_analyzer": {"checkpoint": folder / "qwen", "max_new_tokens": 16, "image_tokens": 64},
        "object_extractor": {"sam2": folder / "sam2", "birefnet": folder / "birefnet"},
        "object_synthesizer": {"checkpoint": folder / "fill", "redux": folder / "redux", "resolution": 64, "steps": 2},
    }
    return {
        f"ATELIER_{stage.upper()}_{name.upper()}": str(value)
        for stage, found in settings.items()
        for name, value in (found | changes.get(stage, {})).items()
    } | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def resident(launch, weights):
    """All weights stay loaded: FLUX.1-Fill with Redux."""
    return launch(*REPOSITORIES, models=("composite", "composite_stream"), environment=environment(weights))


@pytest.fixture(scope="module")
def passing(launch, weights):
    """Weights come and go with every request, in 8 bits: FLUX.2 klein and RMBG-2.0."""
    common = {"residence": "request"}
    changes = {
        "background_analyzer": {**common, "quantisation": "torchao-int8", "temperature": 1},
        "object_extractor": {**common, "background_remover": "rmbg-2.0", "rmbg": weights / "rmbg"},
        "object_synthesizer": {
            **common,
            "network": "flux.2-klein",
            "klein": weights / "klein",
            "quantisation": "torchao-int8",
            "seed": 2**63 - 1,
        },
    }
    return launch(*REPOSITORIES, models=("composite", "composite_stream"), environment=environment(weights, **changes))


def reference():
    """A picture without alpha: the extractor has something to do. What its random network finds is noise."""
    pixels = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    pixels[16:48, 20:44] = (200, 40, 40)
    return pixels


def modes(result):
    return {stage: result.report["modes"][stage] for stage in STAGES}


ASKED = {"box": BOX, "reference_box": (16, 12, 48, 52), "prompt": WISH, "language": "ko", "seed": 7}


def untouched(result, background):
    """Whether the picture outside its fill mask is the background, and inside is not."""
    mask = result.mask
    return (result.image[mask == 0] == background[mask == 0]).all() and (
        result.image[mask > 0] != background[mask > 0]
    ).any()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("mode", ["auto", "neural"])
def test_every_stage_is_neural(resident, protocol, mode):
    with Client(resident.grpc_url if protocol == "grpc" else resident.http_url) as client:
        result, again = (client.composite(scene(), reference(), mode=mode, **ASKED) for _ in range(2))
    assert modes(result) == dict.fromkeys(STAGES, "neural")
    assert untouched(result, scene())
    assert (result.report["seed"], result.report["prompt"]) == (7, WISH)
    assert result.report["metrics"]["outside_max_difference"] == 0
    told = json.dumps(result.report["models"])
    assert all(name in told for name in ("Qwen2-VL", "SAM 2", "BiRefNet", "FLUX.1-Fill", "FLUX.1-Redux"))
    assert (again.image == result.image).all()
    # Random weights say nothing in Korean: what stands there instead is.
    assert any("가" <= letter <= "힣" for letter in result.analysis)


def test_a_request_may_ask_for_classical(resident):
    with Client(resident.grpc_url) as client:
        result = client.composite(scene(), reference(), mode="classical", **ASKED)
    assert modes(result) == dict.fromkeys(STAGES, "classical")
    assert result.report["models"]["object_synthesizer"] == {} and untouched(result, scene())


def turned():
    """The scene as a camera writes it that was held upright: to be turned by a quarter."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(scene()).save(file, "PNG", exif=exif)
    return file.getvalue()


PALETTE, CMYK, TURNED = file_of(scene(), mode="P"), file_of(scene(), "JPEG", "CMYK"), turned()
KINDS = {
    "grey": (file_of(scene()[..., 0]), np.repeat(scene()[..., :1], 3, axis=2)),
    "palette": (PALETTE, np.asarray(Image.open(io.BytesIO(PALETTE)).convert("RGB"))),
    "CMYK": (CMYK, np.asarray(Image.open(io.BytesIO(CMYK)).convert("RGB"))),
    "turned": (TURNED, np.rot90(scene(), -1)),
    "alpha": (file_of(np.dstack([scene(), np.full((120, 200), 90, np.uint8)])), scene()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_background_stays_as_it_is_whatever_its_mode(resident, kind):
    data, expected = KINDS[kind]
    with Client(resident.grpc_url) as client:
        assert untouched(
            client.composite(data, reference(), mode="neural", **{**ASKED, "box": (30, 30, 80, 110)}), expected
        )


def test_weights_come_and_go_with_the_request(passing):
    with Client(passing.grpc_url) as client:
        *progress, result = client.composite_stream(scene(), reference(), mode="neural", preview_every=1, **ASKED)
        again = client.composite(scene(), reference(), mode="neural", **ASKED)
        other = client.composite(scene(90, 150), reference(), mode="neural", **{**ASKED, "box": (30, 20, 80, 80)})
    assert modes(result) == dict.fromkeys(STAGES, "neural")
    assert any(event.preview is not None for event in progress)
    assert untouched(result, scene()) and untouched(other, scene(90, 150))
    assert (again.image == result.image).all()
    said, repeated = (made.report["facts"]["background_analyzer"]["answer"] for made in (result, again))
    assert said == repeated  # drawn, with the seed
    told = json.dumps(result.report["models"])
    assert "FLUX.2 klein" in told and "Apache-2.0" in told and "FLUX.1-Fill" not in told
    assert told.count("torchao-int8") >= 2
    assert any("RMBG-2.0" in warning and "non-commercial" in warning for warning in result.report["warnings"])


def test_several_seeds_begin_with_the_servers_own(passing):
    asked = {name: value for name, value in ASKED.items() if name != "seed"}
    with Client(passing.grpc_url) as client:
        *_, result = client.composite_stream(scene(), reference(), seeds=2, **asked)
    assert [candidate["seed"] for candidate in result.report["candidates"]] == [2**63 - 1, 0]


def test_what_is_found_nowhere_is_refused_in_one_sentence(resident):
    with Client(resident.grpc_url) as client:
        with pytest.raises(InvalidRequest, match="REFERENCE_BOX"):
            client.composite(scene(), reference(), **{**ASKED, "reference_box": (0, 0, 900, 9)})
        assert pixels_of(client.composite(scene(), reference(), **ASKED).data).shape == scene().shape
