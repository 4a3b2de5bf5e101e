"""The served `lama` and `inpaint` answer what the upstream implementation answered."""

import numpy as np
import pytest

from atelier.client import Client
from tests.golden.lama.cases import NAMES, golden

SERVED = {
    "onnxruntime fp32": ("default", "fp32"),
    "onnxruntime fp16": ("default", "fp16"),
    "openvino fp32": ("openvino", "fp32"),
    "openvino fp16": ("openvino", "fp16"),
    "torchscript fp32": ("torchscript", "fp32"),
    "torchscript fp16": ("torchscript", "fp16"),
}
LEVELS = {"fp32": 1, "fp16": 6}
"""Largest difference in levels of 0 to 255. fp32: truncation turns rounding into one level. fp16: the exporter's own
tolerance (export/lama/verify.py)."""


def check(got, want, mask, precision):
    difference = np.abs(got.astype(int) - want)
    assert difference[mask == 0].max(initial=0) == 0, "outside the hole the picture is itself, bit for bit"
    assert difference.max() <= LEVELS[precision]
    if precision == "fp32":
        assert (difference > 0).mean() <= 0.001


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("served", SERVED)
def test_lama(golden_servers, served, name):
    profile, precision = SERVED[served]
    server = golden_servers("hot" if name.startswith("hot") else "plain", profile, precision)
    case = golden(name)
    with Client(server.grpc_url) as client:
        answer = client.infer("lama", {"IMAGE": case.image, "MASK": case.mask})["INPAINTED"]
    assert answer.dtype == np.uint8
    height, width = case.levels.shape[1:3]
    check(case.cut(answer), case.levels, case.mask[:, :height, :width], precision)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_inpaint_page(golden_servers, protocol, name):
    server = golden_servers("hot" if name.startswith("hot") else "plain")
    case = golden(name)
    height, width = case.levels.shape[1:3]
    with Client(server.grpc_url if protocol == "grpc" else server.http_url) as client:
        for image, mask, want in zip(case.image, case.mask, case.levels, strict=True):
            picture, hole = image[:height, :width], mask[:height, :width]
            result = client.inpaint(picture, hole, strategy="page")
            assert result.report["strategy"] == "page"
            check(result.image, want, hole, "fp32")
