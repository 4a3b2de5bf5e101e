import numpy as np

from atelier.media.foreground import estimate_foreground


def test_a_red_disc_before_green_has_no_green_fringe():
    rows, columns = np.mgrid[:120, :160]
    alpha = np.clip((40 - np.hypot(rows - 60, columns - 80)) / 12 + 0.5, 0, 1).astype(np.float32)
    red, green = np.array([200.0, 30, 20]), np.array([10.0, 180, 40])
    picture = np.rint(alpha[..., None] * red + (1 - alpha[..., None]) * green).astype(np.uint8)
    found = estimate_foreground(picture, alpha)
    fringe = (alpha > 0.1) & (alpha < 1)
    before, after = (np.abs(image[fringe].astype(float) - red).mean() for image in (picture, found))
    assert after < 0.2 * before
    assert after < 12  # levels
    np.testing.assert_array_equal(found[alpha >= 1], picture[alpha >= 1])


def test_nothing_and_everything_are_no_problem():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert estimate_foreground(picture, np.zeros((20, 30), np.float32)).shape == (20, 30, 3)
    np.testing.assert_array_equal(estimate_foreground(picture, np.ones((20, 30), np.float32)), picture)
