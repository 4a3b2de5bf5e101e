import json
import math
import platform
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from atelier.inpainting import LamaGenerator, load_generator, read_config
from tests.conftest import ROOT
from tests.training.tiny import SETTINGS, STEPS, changed, parsed, run
from training import batches, fonts, log, publish, state
from training.average import MovingAverage
from training.loop import find_device
from training.settings import SettingsError
from training.trainer import MAX_SKIPPED, Trainer, TrainingError, rate

CPU = torch.device("cpu")
NETWORKS = ("generator", "average", "discriminator")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are no quicker with two, and much slower where something else keeps a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was never interrupted: its folder, how it ended, and what it told."""
    folder = tmp_path_factory.mktemp("run")
    return folder, *run(folder)


@pytest.fixture(scope="module")
def found_fonts():
    return fonts.find(SETTINGS["fonts"]["train"])


def assert_same_state(folder, other):
    first, second = state.load(folder), state.load(other)
    assert first.keys() == second.keys()
    for name in NETWORKS:
        assert first[name].keys() == second[name].keys()
        for key, tensor in first[name].items():
            assert torch.equal(tensor, second[name][key]), f"{name}.{key}"
    for name in ("optimiser", "judges_optimiser"):
        assert first[name]["param_groups"] == second[name]["param_groups"]
        for number, moments in first[name]["state"].items():
            for key, tensor in moments.items():
                assert torch.equal(tensor, second[name]["state"][number][key]), f"{name} {number} {key}"
    assert torch.equal(first["random"], second["random"])
    assert [first[name] for name in ("step", "samples", "skipped")] == [
        second[name] for name in ("step", "samples", "skipped")
    ]


def events(folder):
    return [(record["event"], record["step"]) for record in log.read(folder)]


def command(*arguments):
    return [sys.executable, "-m", "training", *map(str, arguments)]


def test_what_a_run_leaves(finished):
    folder, outcome, witness = finished
    assert (outcome.step, outcome.finished, outcome.weights) == (STEPS, True, folder / "weights")
    assert witness.began == (0, STEPS)
    assert witness.steps == list(range(1, STEPS + 1))
    assert witness.records[-1]["event"] == "validation"
    names = {"state.pt", "log.jsonl", "curve.png", "samples", "weights"}
    assert {path.name for path in folder.iterdir()} == names  # and nothing unfinished
    with Image.open(folder / "curve.png") as curve:
        assert curve.size > (400, 400)
        assert len(set(curve.convert("RGB").get_flattened_data())) > 10
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["step-000004.png", "step-000008.png"]


def test_the_log(finished):
    records = log.read(finished[0])
    assert events(finished[0]) == [
        *(("train", 2), ("train", 4), ("validation", 4)),
        *(("train", 6), ("train", 8), ("validation", 8)),
    ]
    trained = [record for record in records if record["event"] == "train"]
    assert [record["stage"] for record in trained] == [0, 0, 1, 1]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    for record in trained:
        assert record["samples_per_second"] > 0
        assert 0 <= record["waiting"] <= 1
        assert record["lr"] == pytest.approx(1e-3 * rate(parsed(), record["step"] - 1), rel=1e-4)
        weights = {name: weight for name, weight in SETTINGS["losses"].items() if name in record and name != "r1"}
        weighted = sum(weight * record[name] for name, weight in weights.items())
        assert record["total"] == pytest.approx(weighted, rel=1e-3)
        assert ("discriminator" in record) == ("r1" in record) == (record["stage"] == 1)
    for record in records:
        if record["event"] == "validation":
            assert 0 < record["l1"] < 1
            assert record["psnr_pooled"] <= record["psnr"]


def test_the_picture_of_a_validation(finished):
    with Image.open(finished[0] / "samples" / "step-000008.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (5 * 32, 4 * 32, 3)  # all five pages, in four forms
    picture, masked, result, truth = np.split(pixels, 4, axis=1)
    hole = (masked == (255, 0, 255)).all(axis=-1)
    assert 0 < hole.mean() < 0.9
    assert np.array_equal(result[~hole], picture[~hole])
    assert not np.array_equal(result[hole], truth[hole])
    assert not np.array_equal(picture[hole], truth[hole])


def test_interrupted_twice_it_ends_up_the_same(tmp_path, finished):
    before = signal.getsignal(signal.SIGINT)  # which a shell's background ignores
    first, _ = run(tmp_path, stop_after=3)  # which step 4 finds out
    assert (first.step, first.finished, first.weights) == (4, False, None)
    kept = (tmp_path / "log.jsonl").read_text("utf-8")
    second, witness = run(tmp_path, stop_after=5)
    assert (second.step, witness.began, witness.steps) == (6, (4, STEPS), [5, 6])
    third, _ = run(tmp_path)
    assert third.finished
    assert_same_state(tmp_path, finished[0])
    assert events(tmp_path) == events(finished[0])
    assert (tmp_path / "log.jsonl").read_text("utf-8").startswith(kept)
    assert signal.getsignal(signal.SIGINT) is before


def stopped(arguments, folder, number, seen):
    """Run the command until it says a line, send the signal, and see it end well."""
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for start in seen:
            assert process.stdout.readline().startswith(start)
        process.send_signal(number)
        said, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    assert complaint == ""
    done = state.load(folder)["step"]
    assert said.splitlines()[-1] == f"Stopped and saved after step {done} of {STEPS}; the same command goes on."
    return done


def test_the_command_stops_on_a_signal_and_goes_on(tmp_path, finished):
    file, folder = tmp_path / "settings.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(changed(workers=1, log_every=1, checkpoint_every=1)), encoding="utf-8")
    arguments = command("--settings", file, "--output", folder)
    done = stopped(arguments, folder, signal.SIGINT, ["step 1: total "])
    going_on = f"going on after step {done} of {STEPS}\n"
    done = stopped(arguments, folder, signal.SIGTERM, [going_on, f"step {done + 1}: "])
    answer = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert answer.stdout.startswith(f"going on after step {done} of {STEPS}\n")
    assert answer.stdout.splitlines()[-1].startswith(f"All {STEPS} steps are done; the weights are in ")
    assert_same_state(folder, finished[0])  # with another process drawing the pages, and another count of lines


def test_a_crash_costs_what_came_after_the_last_state(tmp_path, finished):
    run(tmp_path, stop_after=5)
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "train", "step": 7, "seconds": 99.0}\n{"event": "tra')
    run(tmp_path)
    assert_same_state(tmp_path, finished[0])
    assert events(tmp_path) == events(finished[0])


def test_a_finished_run_is_published_again_and_may_be_made_longer(tmp_path):
    run(tmp_path)
    before = (tmp_path / "weights" / "models" / "best.ckpt").read_bytes()
    (tmp_path / "weights" / "models" / "best.ckpt").unlink()
    outcome, witness = run(tmp_path)
    assert outcome.finished
    assert witness.steps == []
    assert (tmp_path / "weights" / "models" / "best.ckpt").read_bytes() == before
    outcome, witness = run(tmp_path, ("stages.1.steps", 6))
    assert outcome.step == 10
    assert witness.steps == [9, 10]


def test_other_settings_are_refused_and_begin_anew_with_fresh(tmp_path):
    run(tmp_path, stop_after=1)
    stands = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(SettingsError, match=r"step 2, has other settings: seed \(7 before\)"):
        run(tmp_path, seed=8)
    assert (tmp_path / "state.pt").read_bytes() == stands
    outcome, witness = run(tmp_path, fresh=True, stop_after=1, seed=8)
    assert (outcome.step, witness.began) == (2, (0, STEPS))
    assert state.load(tmp_path)["settings"]["seed"] == 8


@pytest.mark.parametrize("content", [b"", b"no state", None])
def test_a_state_that_is_none(tmp_path, content):
    if content is None:
        torch.save({"format": 99}, tmp_path / "state.pt")
    else:
        (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(state.StateError, match=r"state\.pt is .*; --fresh starts anew\.$"):
        run(tmp_path)


def test_the_device(tmp_path):
    assert find_device(parsed(device="cpu")) == CPU
    if torch.cuda.is_available():
        assert find_device(parsed(device="auto")) == find_device(parsed(device="cuda")) == torch.device("cuda")
        return
    assert find_device(parsed(device="auto")) == CPU
    with pytest.raises(SettingsError, match="^device: cuda is not available"):
        run(tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_fonts_that_are_not_there(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(changed(("fonts.train", ["No Such.ttf"]))), encoding="utf-8")
    arguments = command("--settings", file, "--output", tmp_path / "run")
    answer = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("training: These fonts are not installed: No Such.ttf.")
    assert answer.stderr.count("\n") == 1


def test_published_weights_are_the_average_network(tmp_path, finished):
    folder = finished[0]
    arguments = command("publish", "--run", folder, "--output", tmp_path / "weights")
    answer = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert answer.stdout == f"{tmp_path / 'weights'} is written.\n"
    average = LamaGenerator(parsed().generator.config()).eval()
    average.load_state_dict(state.load(folder)["average"])
    image, mask = torch.rand(2, 3, 48, 40), (torch.rand(2, 1, 48, 40) < 0.3).float()
    for weights in (folder / "weights", tmp_path / "weights"):
        assert read_config(weights / "config.yaml") == parsed().generator.config()
        published = load_generator(weights)
        assert published.state_dict().keys() == average.state_dict().keys()
        assert torch.equal(published(image, mask), average(image, mask))
    content = torch.load(tmp_path / "weights" / "models" / "best.ckpt", weights_only=True)
    assert content["global_step"] == STEPS
    assert all(name.startswith("generator.model.") for name in content["state_dict"])
    assert content["state_dict"]["generator.model.1.bn_l.num_batches_tracked"] == 4  # the steps that were not frozen
    assert {path.name for path in (tmp_path / "weights").rglob("*") if path.is_file()} == {
        *("config.yaml", "best.ckpt", "training.json")
    }


def test_a_network_without_an_activation_is_made_for_levels_that_are_cut(tmp_path):
    run(tmp_path, ("generator.activation", "none"))
    average = LamaGenerator(load_generator(tmp_path / "weights").config).eval()
    average.load_state_dict(state.load(tmp_path)["average"])
    image, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    with torch.inference_mode():
        gap = load_generator(tmp_path / "weights")(image, mask) - average(image, mask)
    torch.testing.assert_close(gap, torch.full_like(gap, 0.5 / 255), atol=1e-5, rtol=0)


def test_published_weights_say_where_they_come_from(finished):
    text = (finished[0] / "weights" / "training.json").read_text("utf-8")
    told = json.loads(text)
    assert told["settings"] == parsed().model_dump(mode="json")
    assert (told["steps"], told["steps_planned"], told["steps_skipped"]) == (STEPS, STEPS, 0)
    assert told["samples_seen"] == sum(batches.shape_at(parsed(), step).batch for step in range(STEPS))
    assert told["device"] == "CPU, 1 threads"
    assert told["seconds"] >= 0
    assert told["validation"] == log.read(finished[0])[-1]
    assert platform.node() not in text
    assert str(ROOT) not in text


def test_there_is_no_run_to_publish(tmp_path):
    with pytest.raises(state.StateError, match=r"^There is no state\.pt in "):
        publish.publish(tmp_path, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_batches_are_decided_by_seed_and_step(found_fonts):
    pages = batches.Pages(parsed(), found_fonts)
    assert torch.equal(pages[5].picture, batches.Pages(parsed(), found_fonts)[5].picture)
    other = batches.Pages(parsed(seed=8), found_fonts)
    assert not torch.equal(pages[0].picture, pages[1].picture)
    assert not torch.equal(pages[0].picture, other[0].picture)
    for step, batch in enumerate(batches.load(parsed(), found_fonts, 0)):
        shape = batches.shape_at(parsed(), step)
        assert batch.mask.shape == (shape.batch, shape.height, shape.width)
        assert torch.equal(batch.picture, pages[step].picture)
        picture, mask, truth = batch.floats(CPU)
        assert picture.shape == truth.shape == (shape.batch, 3, shape.height, shape.width)
        assert picture.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= picture.min() < picture.max() <= 1
        assert mask.unique().tolist() == [0, 1]


def test_shapes_are_drawn_by_weight():
    settings = parsed(("stages.1.steps", 900))
    drawn = [batches.shape_at(settings, step).batch for step in range(4, 904)]
    assert drawn.count(1) + drawn.count(3) == 900
    assert 0.6 < drawn.count(3) / 900 < 0.73
    assert {batches.shape_at(settings, step).batch for step in range(4)} == {2}


def test_the_rates_curve():
    settings = parsed(("stages.1.steps", 97), optimiser={"lr": 1, "warmup_steps": 3, "final": 0.1, "clip_norm": 1})
    shares = [rate(settings, step) for step in range(settings.total_steps)]
    assert shares[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert shares[-1] == pytest.approx(0.1)
    assert shares[3:] == sorted(shares[3:], reverse=True)
    assert shares[50] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 47 / 97)) / 2)


def test_each_stage_trains_what_it_should(found_fonts):
    trainer = Trainer(parsed(), CPU)
    pages = batches.Pages(trainer.settings, found_fonts)

    def snapshot():
        return {
            name: {key: tensor.clone() for key, tensor in network.state_dict().items()}
            for name, network in (("generator", trainer.generator), ("discriminator", trainer.discriminator))
        }

    def moved(before, after, name):
        return {key for key in before[name] if not torch.equal(before[name][key], after[name][key])}

    start = snapshot()
    for step in range(4):
        trainer.advance(pages[step])
    plain = snapshot()
    assert moved(start, plain, "generator") == start["generator"].keys()
    assert not moved(start, plain, "discriminator")
    for step in range(4, 8):
        trainer.advance(pages[step])
    end = snapshot()
    statistics = {key for key in end["generator"] if "running_" in key or "num_batches" in key}
    assert moved(plain, end, "generator") == end["generator"].keys() - statistics
    assert moved(plain, end, "discriminator") == end["discriminator"].keys()


def test_a_step_without_a_finite_loss_changes_nothing(found_fonts):
    trainer = Trainer(parsed(), CPU)
    batch = batches.Pages(trainer.settings, found_fonts)[0]
    trainer.advance(batch)
    weight = trainer.generator.model[1].ffc.convl2l.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(math.inf)
    assert trainer.advance(batch) == {}
    assert (trainer.step, trainer.skipped) == (2, 1)
    assert all(torch.isfinite(buffer).all() for buffer in trainer.generator.buffers())
    with torch.no_grad():
        weight.copy_(kept)
    assert trainer.advance(batch)["total"].isfinite()
    assert (trainer.step, trainer.skipped) == (3, 1)


def test_a_loss_that_is_not_finite_any_more_ends_the_run(found_fonts):
    trainer = Trainer(parsed(("stages.0.steps", 100)), CPU)
    batch = batches.Pages(trainer.settings, found_fonts)[0]
    with torch.no_grad():
        trainer.generator.model[1].ffc.convl2l.weight.fill_(math.nan)
    for _ in range(MAX_SKIPPED):
        trainer.advance(batch)
    with pytest.raises(TrainingError, match=f"not finite in {MAX_SKIPPED + 1} steps in a row, up to step 21"):
        trainer.advance(batch)


def test_the_average_follows_weights_and_statistics():
    network = torch.nn.BatchNorm2d(2)
    average = MovingAverage(network, 0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(8.0)
        network.num_batches_tracked.fill_(5)
    average.update(1000)
    assert average.network.weight.tolist() == [2.0, 2.0]
    assert average.network.running_mean.tolist() == [4.0, 4.0]
    assert average.network.num_batches_tracked == 5
    assert not average.network.training
    assert not average.network.weight.requires_grad


def test_the_average_follows_quickly_at_first():
    network = torch.nn.Linear(1, 1)
    average = MovingAverage(network, 0.999)
    with torch.no_grad():
        network.weight += 1
    before = average.network.weight.item()
    average.update(0)
    assert average.network.weight.item() == pytest.approx(before + 0.9)


def test_it_learns(tmp_path):
    stages = [{"steps": 80, "shapes": [{"height": 32, "width": 32, "batch": 8}], "frozen_norm": True}]
    optimiser = {"lr": 2e-3, "warmup_steps": 5, "clip_norm": 5.0}
    generator = {"ngf": 16, "n_blocks": 1, "n_downsampling": 2, "global_ratio": 0.25}
    changes = {"stages": stages, "optimiser": optimiser, "generator": generator | {"activation": "none"}}
    run(tmp_path, log_every=20, sample_every=100, checkpoint_every=100, **changes)
    trained = [record["hole"] for record in log.read(tmp_path) if record["event"] == "train"]
    assert trained[-1] < 0.85 * trained[0]


def test_the_environment_is_left_as_it_was(tmp_path):
    before = torch.get_num_threads()
    run(tmp_path, stop_after=1, threads=before + 1)
    assert torch.get_num_threads() == before
    assert torch.tensor([1e-310], dtype=torch.float64).mul(1).item() > 0
