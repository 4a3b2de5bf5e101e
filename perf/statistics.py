"""What Triton itself says of single requests."""

from __future__ import annotations

import json
import urllib.request
from time import monotonic, sleep
from urllib.parse import urlsplit

from atelier import access
from perf.measure import BenchmarkError

STEPS = ("queue", "compute_input", "compute_infer", "compute_output")
WHOLE = "success"  # Triton's name for a request from its arrival in the core to its last response


def page(http_url: str, model: str) -> urllib.request.Request:
    """What Triton says of a model; with the server's key, which it keeps this from others without."""
    key = access.find(urlsplit(http_url).port or 0)
    return urllib.request.Request(f"{http_url}/v2/models/{model}/stats", headers={access.HTTP_HEADER: key or ""})


class Statistics:
    """A model's times, request by request, as differences of Triton's running sums.

    Args:
        http_url: the server's.
        model: the model's name; nobody else may call it meanwhile.
    """

    def __init__(self, http_url: str, model: str) -> None:
        self._page = page(http_url, model)
        self._last = self._read()

    def next_request(self, patience: float = 5.0) -> dict[str, float]:
        """Seconds by step, and of the whole, of the one request since the last call.

        Args:
            patience: seconds to wait for it: Triton counts a request after it has answered it.

        Raises:
            BenchmarkError: there was none, or more than one.
        """
        deadline = monotonic() + patience
        while (now := self._read())["count"] == self._last["count"] and monotonic() < deadline:
            sleep(0.002)
        if now["count"] != self._last["count"] + 1:
            raise BenchmarkError(f"Triton counts {now['count'] - self._last['count']} requests where there was one.")
        request = {name: (now[name] - self._last[name]) / 1e9 for name in (*STEPS, WHOLE)}
        self._last = now
        return request

    def _read(self) -> dict[str, int]:
        with urllib.request.urlopen(self._page, timeout=10) as reply:
            (entry,) = json.load(reply)["model_stats"]
        figures = entry["inference_stats"]
        return {"count": figures[WHOLE]["count"], **{name: figures[name]["ns"] for name in (*STEPS, WHOLE)}}
