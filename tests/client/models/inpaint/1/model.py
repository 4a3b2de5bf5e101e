import io
import json
import time

import numpy as np
from PIL import Image
from pydantic_settings import BaseSettings

from atelier.serving.model import BatchModel

SIZES = {"large": (8000, 7000), "small": (40, 30), "small, says large": (40, 30), "large, says small": (8000, 7000)}
REPORTS = {
    "no JSON": "{",
    "a list": "[]",
    "no size": json.dumps({"format": "png"}),
    "no format": json.dumps({"width": 40, "height": 30}),
    "odd size": json.dumps({"width": "wide", "height": None, "format": "png"}),
}


def png(size):
    file = io.BytesIO()
    Image.fromarray(np.zeros(size[::-1], np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


class TritonPythonModel(BatchModel):
    settings_class = BaseSettings

    def decode(self, request, settings):
        return request.data("STRATEGY").decode()

    def predict(self, jobs):
        return jobs

    def encode(self, result):
        if result == "sleep":
            time.sleep(3)
        if result == "no picture":
            return {"IMAGE": b"PNG", "REPORT": json.dumps({"width": 40, "height": 30, "format": "png"})}
        if result in SIZES:
            said = SIZES["large" if "large" in result.split()[-1] else "small"]
            report = {"width": said[0], "height": said[1], "format": "png"}
            return {"IMAGE": png(SIZES[result]), "REPORT": json.dumps(report)}
        return {"IMAGE": png((40, 30)), "REPORT": REPORTS.get(result, "{}")}
