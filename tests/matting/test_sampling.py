import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from atelier.matting import CheckpointError
from atelier.matting.sampling import Sampler


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_gaussian_steps_are_diffusers(count, shift):
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    scheduler.set_timesteps(count)
    sample = expected = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    steps = Sampler(1000, shift).steps(count, "gaussian")
    np.testing.assert_allclose([step.timestep for step in steps], scheduler.timesteps, rtol=1e-6)
    for number, step in enumerate(steps):
        output = torch.randn(2, 3, generator=torch.Generator().manual_seed(number + 1))
        expected = scheduler.step(output, scheduler.timesteps[number], expected).prev_sample
        sample = sample + step.size * output
    np.testing.assert_allclose(sample, expected, atol=1e-5)


def test_noise_of_zeros_has_one_time():
    assert [(step.timestep, step.size) for step in Sampler().steps(3, "zeros")] == [(999.0, None)] * 3


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "DDIMScheduler"}, "DDIMScheduler"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas"),
        ({"shift_terminal": 0.1}, "shift_terminal"),
    ],
)
def test_other_schedulers_are_refused(config, words):
    with pytest.raises(CheckpointError, match=words):
        Sampler.read(config)
