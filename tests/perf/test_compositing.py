"""The benchmark of compositing, run small. No time is judged."""

import pytest

from perf.compositing import NOTES, PUBLISHED, VARIANTS, markdown
from tests.perf.commands import perf, written


def test_ways_of_holding_flux(tmp_path):
    small = ["--size", "tiny", "--resolution", "64", "--steps", "1,2", "--threads", "1", "--rounds", "1"]
    chosen = ["--variants", "none,torchao-int8,nf4"]
    document, text = written("compositing-tiny", tmp_path, "compositing", *small, *chosen)
    plain, few, refused = document["cases"]
    assert plain["variant"] == "none"
    assert plain["runs"].keys() == few["runs"].keys() == {"1", "2"}
    sizes = [case["runs"]["2"]["bytes"]["transformer"] for case in (plain, few)]
    assert sizes[1] < 0.3 * sizes[0]
    assert plain["host_peak"] > plain["loaded"]["host"] / 2 > 10**8
    assert "gpu" not in plain["loaded"]
    assert "nf4 needs a GPU" in refused["refused"]
    assert "show that each way works, not what it costs" in text
    assert "no GPU" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--variants", "none,fast"], "there is no 'fast'; there are: none, bnb-int8"),
        (["--resolution", "100"], "multiples of 16 are accepted"),
        (["--steps", "0"], "'0' is not accepted; 1 to 200"),
        (["--size", "huge"], "accepted: tiny, full"),
    ],
)
def test_what_is_refused(tmp_path, arguments, words):
    run = perf("compositing", *arguments, "--output", str(tmp_path))
    assert run.returncode == 2
    assert words in " ".join(run.stderr.replace("│", " ").split())


def test_what_others_published_stands_beside_the_full_size():
    run = {"seconds": 20.0, "stages": {"denoising": 14.0}, "memory": {"gpu_peak": 17.2e9}, "bytes": {}}
    run["bytes"] = {"transformer": 6_300_000_000, "text_encoder_2": 2_500_000_000}
    case = {"variant": "nf4", "loading": 9.0, "loaded": {"gpu": 12.5e9}, "runs": {"28": run}, "host_peak": 30e9}
    settings = {"size": "full", "resolution": 1024, "device": "cuda", "threads": 8, "rounds": 3}
    machine = {"cpu": "a CPU", "cores": 8, "memory_gib": 64, "gpu": "a GPU", "load_average_at_start": 0.1}
    document = {"settings": settings, "machine": machine, "versions": {}, "commit": "0", "cases": [case]}
    (row,) = (line for line in markdown(document).splitlines() if line.startswith("| nf4"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "nf4",
        "28",
        "9.0",
        "20.00",
        "0.500",
        "6.3",
        "2.5",
        "12.5",
        "17.2",
        "30.0",
        "6",
        "12.6 / 17.3 / 12 s",
    ]
    assert VARIANTS.keys() >= PUBLISHED.keys() | NOTES.keys()
