import numpy as np
import pytest

from atelier.matting.windows import CrossFade, windows


@pytest.mark.parametrize("total", range(1, 30))
@pytest.mark.parametrize(("size", "overlap"), [(8, 0), (8, 2), (8, 6), (5, 4), (1, 0), (32, 6)])
def test_windows_are_those_of_upstream_s_loop(total, size, overlap):
    """``range(0, total, size - overlap)``, each to ``start + size``, without those shorter than the overlap."""
    starts = range(0, total, size - overlap)
    expected = [list(range(start, min(total, start + size))) for start in starts]
    expected = [window for number, window in enumerate(expected) if not number or len(window) >= max(overlap, 1)]
    assert list(windows(iter(range(total)), size, overlap)) == expected


def test_a_window_comes_as_soon_as_it_is_full():
    taken = []
    stream = windows((taken.append(n) or n for n in range(100)), 8, 2)
    next(stream)
    assert len(taken) == 8
    next(stream)
    assert len(taken) == 14


@pytest.mark.parametrize("total", [1, 3, 7, 8, 9, 14, 20, 21, 26])
@pytest.mark.parametrize("overlap", [0, 1, 2, 5])
def test_a_cross_fade_gives_every_frame_once(total, overlap):
    fade = CrossFade(overlap)
    shaped = (np.array(window, np.float32).reshape(1, -1, 1, 1, 1) for window in windows(range(total), 8, overlap))
    parts = [fade.push(latents) for latents in shaped]
    if (last := fade.end()) is not None:
        parts.append(last)
    joined = np.concatenate(parts, axis=1).ravel()
    np.testing.assert_allclose(joined, np.arange(total), atol=1e-5)


def test_a_cross_fade_is_linear():
    fade = CrossFade(3)
    first = fade.push(np.zeros((1, 5, 1, 1, 1), np.float32))
    second = fade.push(np.ones((1, 5, 1, 1, 1), np.float32))
    assert first.ravel().tolist() == [0, 0]
    assert second.ravel().tolist() == [0, 0.5]
    assert fade.end().ravel().tolist() == [1, 1, 1]
