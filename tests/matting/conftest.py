"""The golden checkpoints, unpacked once and loaded once a combination."""

import pytest

from atelier.matting import MattingPipeline
from tests.golden.gvm.cases import bases, unpack


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    return unpack(tmp_path_factory.mktemp("gvm"))


@pytest.fixture(scope="session")
def pipelines(checkpoints):
    """``pipelines(case name)``."""
    made = {}

    def get(name):
        arguments = bases(checkpoints, name)
        key = tuple(map(str, arguments.values()))
        if key not in made:
            made[key] = MattingPipeline.from_pretrained(**arguments)
        return made[key]

    return get
