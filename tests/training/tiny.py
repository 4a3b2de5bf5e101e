"""Settings of a run that is over in seconds, and the run itself."""

import copy
import os
import signal

from training import loop, settings

STEPS = 8
SETTINGS = {
    "seed": 7,
    "device": "cpu",
    "threads": 1,
    "workers": 0,
    "generator": {"ngf": 4, "n_blocks": 1, "n_downsampling": 2, "global_ratio": 0.5},
    "fonts": {"train": ["DejaVuSans.ttf", "NanumGothic.ttf", "ipag.ttf"], "held_out": []},
    "ema_decay": 0.9,
    "optimiser": {"lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.01, "warmup_steps": 2, "clip_norm": 1.0},
    "discriminator": {"ndf": 4, "n_layers": 2, "max_features": 8, "lr": 1e-3},
    "losses": {
        "hole": 1.0,
        "known": 0.5,
        "gradient": 0.5,
        "frequency": 1.0,
        "adversarial": 0.1,
        "features": 0.5,
        "r1": 1.0,
        "r1_every": 2,
    },
    "stages": [
        {"steps": 4, "shapes": [{"height": 32, "width": 40, "batch": 2}]},
        {
            "steps": 4,
            "shapes": [{"height": 48, "width": 32, "batch": 1}, {"height": 32, "width": 32, "batch": 3, "weight": 2}],
            "frozen_norm": True,
            "adversarial": True,
        },
    ],
    "log_every": 2,
    "checkpoint_every": 3,
    "sample_every": 4,
    "validation_samples": 5,
    "validation_side": 32,
}


def changed(*changes, **at_top):
    """The settings as plain values, with ``(path, value)`` changes: a path is names and numbers with dots."""
    values = copy.deepcopy(SETTINGS) | at_top
    for path, value in changes:
        *places, last = (int(part) if part.isdigit() else part for part in path.split("."))
        block = values
        for place in places:
            block = block[place]
        block[last] = value
    return values


def parsed(*changes, **at_top):
    return settings.parse(changed(*changes, **at_top))


class Witness:
    """Listens to a run, and stops it after a step as a user would, with Ctrl-C."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.began, self.steps, self.records = None, [], []

    def begin(self, step, total):
        self.began = (step, total)

    def progress(self, step, record, seconds_left):
        self.steps.append(step)
        self.records += [record] if record else []
        if step == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)


def run(folder, *changes, stop_after=None, fresh=False, **at_top):
    """Train in this process; the outcome and the witness."""
    witness = Witness(stop_after)
    return loop.train(parsed(*changes, **at_top), folder, witness, fresh=fresh), witness
