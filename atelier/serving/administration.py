"""What the launcher asks of its server over HTTP: its models, statistics, unloading, whether one answers."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from atelier.access import HTTP_HEADER

# Without the proxies of the environment: they do not know this machine's loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Administration:
    """The administrative side of one server.

    Args:
        http_url: its address, with scheme.
        key: that it was started with.
    """

    def __init__(self, http_url: str, key: str) -> None:
        self._url, self._key = http_url, key

    def index(self) -> list[dict[str, Any]] | None:
        """The server's list of models; ``None`` while it does not answer."""
        found: list[dict[str, Any]] | None = self._json("/v2/repository/index", {})
        return found

    def version(self) -> str | None:
        """Triton's version; ``None`` while it does not answer."""
        found = self._json("/v2", None)
        return None if found is None else str(found.get("version", ""))

    def is_live(self) -> bool:
        """Whether the server answers."""
        return self._ask("/v2/health/live", None, 5) is not None

    def answered(self, model: str) -> int | None:
        """How many requests a model has answered well; ``None`` where the server does not say.

        What the queue refused counts among the others, and says nothing of the model.
        """
        found = self._json(f"/v2/models/{model}/stats", None, 2)
        if found is None:
            return None
        kinds = [entry.get("inference_stats", {}) for entry in found.get("model_stats", ())]
        return sum(int(kind.get("success", {}).get("count", 0)) for kind in kinds)

    def unload(self, model: str) -> None:
        """Have a model finish what it runs and take no more; answers at once."""
        self._ask(f"/v2/repository/models/{model}/unload", {}, 10)

    def regions(self) -> list[str]:
        """Names of the clients' shared memory that the server holds; none while it does not answer."""
        return [str(region.get("name", "")) for region in self._json("/v2/systemsharedmemory/status", None) or ()]

    def forget(self, region: str) -> bool:
        """Have the server let go of a client's shared memory; ``False`` where a request uses it."""
        return self._ask(f"/v2/systemsharedmemory/region/{quote(region, safe='')}/unregister", {}, 10) is not None

    def canary(self, model: str, call: tuple[str, dict[str, Any]], patience: float) -> None:
        """Send a model a request that asks nothing, and wait for its answer.

        Args:
            model: its name.
            call: see `canary.call`.
            patience: seconds.

        Raises:
            OSError, HTTPException: no answer, or none in time.
            urllib.error.HTTPError: an answer that refuses it, which is an ``OSError`` too.
        """
        end_point, body = call
        with _OPENER.open(self._request(f"/v2/models/{model}/{end_point}", body), timeout=patience) as reply:
            reply.read()

    def _json(self, path: str, body: dict[str, Any] | None, patience: float = 10) -> Any:
        answer = self._ask(path, body, patience)
        with contextlib.suppress(ValueError):  # cut off, as the server ended
            return None if answer is None else json.loads(answer)
        return None

    def _ask(self, path: str, body: dict[str, Any] | None, patience: float) -> bytes | None:
        request = self._request(path, body)
        with contextlib.suppress(OSError, HTTPException), _OPENER.open(request, timeout=patience) as reply:
            return bytes(reply.read())
        return None

    def _request(self, path: str, body: dict[str, Any] | None) -> urllib.request.Request:
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.Request(self._url + path, data, {HTTP_HEADER: self._key})
