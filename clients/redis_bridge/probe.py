"""``python -m clients.redis_bridge.probe``: whether the bridge beside it lives. For containers' health checks.

That its metrics answer proves one thread alone; here its loops must have given a sign of life within `SILENCE`. Status
0 where they have, else 1 with the reason on stderr. A bridge that waits for Redis lives.
"""

from __future__ import annotations

import os
import re
import sys
import time
import urllib.request

SILENCE = 60.0
"""Seconds without a sign of life after which a bridge counts as dead; `--heartbeat` gives three within its own time."""

PATIENCE = 8.0
"""Seconds that the metrics have to answer."""


def trouble(port: str) -> str:
    """What is wrong with the bridge whose metrics are on this port of loopback; empty where nothing is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            page = answer.read().decode("utf-8")
    except (OSError, ValueError) as error:
        return f"no metrics on port {port}: {error}"
    found = re.search(r"^atelier_bridge_beat_seconds (\S+)$", page, re.MULTILINE)
    if found is None:
        return f"no bridge's metrics on port {port}"
    silent = time.time() - float(found[1])
    return f"no sign of life for {silent:.0f} s" if silent > SILENCE else ""


if __name__ == "__main__":
    if reason := trouble(os.environ.get("ATELIER_BRIDGE_METRICS_PORT", "")):
        sys.exit(f"redis_bridge: {reason}")
