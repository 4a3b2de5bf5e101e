import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.media import pad_to_modulus, pad_to_size


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    tail=st.sampled_from([(), (1,), (3,), (2, 2)]),
    modulus=st.integers(1, 24),
)
def test_sizes_are_the_least_multiples_and_the_new_pixels_mirror_the_picture(height, width, tail, modulus):
    array = np.arange(height * width * int(np.prod(tail))).reshape(height, width, *tail)
    padded = pad_to_modulus(array, modulus)
    for length, before in zip(padded.shape[:2], (height, width), strict=True):
        assert length % modulus == 0 and length >= before
        assert length - modulus < before
    assert padded.shape[2:] == tail
    # Mirrored with the border pixel repeated: 0 1 2 2 1 0 0 1 2 ...
    rows, columns = (
        np.array([(*range(n), *reversed(range(n)))[i % (2 * n)] for i in range(padded.shape[axis])])
        for axis, n in enumerate((height, width))
    )
    assert np.array_equal(padded, array[rows][:, columns])


def test_nothing_to_pad_gives_the_array_itself():
    array = np.zeros((16, 24, 3), np.uint8)
    assert pad_to_modulus(array, 8) is array


@pytest.mark.parametrize("shape", [(0, 4), (4, 0, 3), (4,)])
def test_an_array_without_pixels_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        pad_to_modulus(np.zeros(shape), 8)


@pytest.mark.parametrize("modulus", [0, -8])
def test_a_modulus_below_one_is_refused(modulus):
    with pytest.raises(ValueError, match="modulus"):
        pad_to_modulus(np.zeros((4, 4)), modulus)


def test_an_array_larger_than_the_size_is_refused():
    with pytest.raises(ValueError, match="8x4 at most"):
        pad_to_size(np.zeros((4, 9)), 4, 8)
