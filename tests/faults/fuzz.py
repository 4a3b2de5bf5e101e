"""What the tests of bad input share: how many examples, files that are spoilt, and what no answer may hold."""

import os
import re

from hypothesis import HealthCheck, settings
from hypothesis import strategies as some

from tests.conftest import ROOT

INSIDE = re.compile(rf"Traceback|File \"|\.py\b|site-packages|/tmp/|{re.escape(str(ROOT))}")
"""What an answer may not hold."""

ASKED = os.environ.get("FUZZ_EXAMPLES")
"""How many examples of each test: others at each run. Without it 250, the same ones at each run."""

many = settings(
    max_examples=int(ASKED or 250),
    derandomize=ASKED is None,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def spoilt(file, within=None):
    """The bytes of a file with some changed, the end cut off or others after it.

    Args:
        file: its bytes.
        within: where bytes are changed, a strategy; anywhere without it.
    """
    place = some.integers(0, len(file) - 1) if within is None else within

    def apply(cut, changes, tail):
        made = bytearray(file)
        for where, value in changes:
            made[where] = value
        return bytes(made[: len(file) - cut]) + tail

    cuts = some.just(0) | some.integers(0, len(file))
    changes = some.lists(some.tuples(place, some.integers(0, 255)), max_size=8)
    return some.builds(apply, cuts, changes, some.binary(max_size=20))
