"""Which setting wins: request over environment over config.pbtxt over default."""

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from atelier.errors import InvalidInput
from atelier.inpainting.settings import InpaintSettings
from atelier.serving.settings import settle


class Oven(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ATELIER_OVEN_", extra="forbid")
    heat: int = Field(180, ge=50, le=300)
    fan: bool = False


def test_default():
    settled = settle(Oven, {})
    assert (settled.values.heat, settled.sources["heat"]) == (180, "default")


def test_each_source_beats_the_one_below(monkeypatch):
    assert settle(Oven, {"heat": "190"}).values.heat == 190
    monkeypatch.setenv("ATELIER_OVEN_HEAT", "200")
    settled = settle(Oven, {"heat": "190", "fan": "true"})
    assert (settled.values.heat, settled.values.fan) == (200, True)
    assert settled.sources == {"heat": "environment", "fan": "config"}
    request = settled.override({"heat": 210})
    assert (request.values.heat, request.values.fan) == (210, True)
    assert request.sources == {"heat": "request", "fan": "config"}
    assert settled.values.heat == 200, "a request changes nothing for the next one"


def test_triton_s_own_parameters_and_the_launcher_s_are_passed_over():
    parameters = {"EXECUTION_ENV_PATH": "x", "requires": "lama", "bring": "command"}
    assert settle(Oven, parameters).values.heat == 180


def test_errors_name_the_place(monkeypatch):
    with pytest.raises(InvalidInput, match=r"HEAT is 301; accepted: less than or equal to 300"):
        settle(Oven, {}).override({"heat": 301})
    with pytest.raises(InvalidInput, match=r"parameter 'heat' in config.pbtxt is 'hot'"):
        settle(Oven, {"heat": "hot"})
    with pytest.raises(InvalidInput, match=r"parameter 'haet' in config.pbtxt is no setting; there are: fan, heat"):
        settle(Oven, {"haet": "1"})
    monkeypatch.setenv("ATELIER_OVEN_HEAT", "10")
    with pytest.raises(InvalidInput, match="variable ATELIER_OVEN_HEAT is '10'"):
        settle(Oven, {})
    monkeypatch.setenv("ATELIER_OVEN_HAET", "100")
    with pytest.raises(InvalidInput, match="variable ATELIER_OVEN_HAET is no setting; .* there are: fan, heat"):
        settle(Oven, {})


def test_long_values_are_not_repeated_in_full():
    with pytest.raises(InvalidInput) as caught:
        settle(Oven, {}).override({"heat": "x" * 100_000})
    assert len(str(caught.value)) < 300


def test_inpaint_settings_from_text():
    settled = settle(InpaintSettings, {"tile_sizes": "512, 256", "format": "WEBP", "fill_flat": "false"})
    assert settled.values.tile_sizes == (256, 512)
    assert settled.values.format == "webp"
    assert settled.values.fill_flat is False


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("strategy", "magic", "STRATEGY is 'magic'; accepted: 'regions' or 'page'"),
        ("margin", -1, "MARGIN is -1; accepted: greater than or equal to 0"),
        ("margin", 5000, "MARGIN is 5000; accepted: less than or equal to 1024"),
        ("format", "bmp", "FORMAT is 'bmp'; accepted: .*png"),
        ("feather", -3, "FEATHER is -3"),
        ("tile_sizes", (100,), "multiples of 8"),
    ],
)
def test_inpaint_settings_refuse(field, value, said):
    with pytest.raises(InvalidInput, match=said):
        settle(InpaintSettings, {}).override({field: value})
