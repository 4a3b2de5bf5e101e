"""The command: help, settings, signals, exit status."""

import time
import urllib.request

import pytest
from pydantic import ValidationError

from atelier.serving.ports import free_ports
from clients.job_worker.settings import Settings
from tests.job_worker.control_plane import TOKEN

MODULE = "clients.job_worker"


def test_help_explains_every_option_and_no_secret_is_one(process):
    started = process(MODULE, "--help", COLUMNS="200")
    assert started.wait() == 0
    for name in Settings.model_fields:
        option = f"--{name.replace('_', '-')}"
        assert (option in started.text) == (name not in ("base_url", "token")), name
    assert "ATELIER_JOBS_TOKEN" in started.text


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ((), {"ATELIER_JOBS_TOKEN": ""}, "ATELIER_JOBS_TOKEN"),
        (("--heartbeat-interval=400",), {}, "up to 200"),
        (("--url=ftp://x",), {}, "ftp"),
    ],
)
def test_wrong_settings_are_said_in_one_line(process, options, environment, words):
    started = process(MODULE, *options, **environment)
    assert started.wait() in (1, 2)
    assert words in started.text
    assert "Traceback" not in started.text
    assert TOKEN not in started.text


def test_idle_without_triton_it_waits_and_sigterm_ends_it(control, process):
    control.add()
    (metrics,) = free_ports(1)
    started = process(MODULE, "--url=127.0.0.1:1", f"--metrics-port={metrics}")
    started.until("waiting")
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5) as reply:
        page = reply.read()
    assert b"atelier_jobs_taken_total 0.0" in page
    assert b'atelier_jobs_ended_total{outcome="failed"} 0.0' in page  # rules see no step from nothing to 1
    assert not control.calls
    started.signal()
    assert started.wait() == 0
    assert started.said("stopped")


def test_sigterm_finishes_the_task(control, process, tmp_path):
    item, other, hold = control.add(), control.add(), tmp_path / "hold"
    hold.touch()
    started = process("tests.job_worker.process", str(hold))
    started.until("progress")
    started.signal()
    hold.unlink()
    assert started.wait() == 0
    assert (item.status, other.status) == ("completed", "pending")
    assert "cancelled: []" in started.text


def test_a_second_sigterm_cancels_it_and_reports_nothing(control, process, tmp_path):
    item, hold = control.add(), tmp_path / "hold"
    hold.touch()
    started = process("tests.job_worker.process", str(hold))
    started.until("progress")
    started.signal()
    time.sleep(0.3)
    assert started.process.poll() is None
    started.signal()
    assert started.wait() == 0
    assert item.status == "processing"
    assert not control.named("report")
    assert "cancelled: ['a cat']" in started.text
    assert started.said("ended")[0]["outcome"] == "given_back"


def test_a_refused_token_ends_it_with_the_reason(process, tmp_path):
    started = process("tests.job_worker.process", str(tmp_path / "none"), ATELIER_JOBS_TOKEN="another-secret")
    assert started.wait() == 1
    assert "job_worker: The control plane does not accept the token (401: Invalid worker token)." in started.text
    assert "another-secret" not in started.text


def settings(**changes):
    return Settings(**{"base_url": "https://control.example", "token": TOKEN, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "http://control.example"}, "unencrypted"),
        ({"base_url": "ftp://control.example"}, "no address"),
        ({"base_url": "https://user:secret@control.example"}, "no address"),
        ({"base_url": "https://control.example?x=1"}, "no address"),
        ({"base_url": "https://[::1"}, "no address"),
        ({"base_url": "control.example"}, "no address"),
        ({"token": " \n"}, "one word"),
        ({"token": "two words"}, "one word"),
        ({"lease_seconds": 300, "heartbeat_interval": 101}, "up to 100"),
        ({"frame_num": 120}, "the nearest are 117 and 121"),
        ({"video_size": "1280x704"}, "pattern"),
        ({"video_size": "1280*720"}, "multiples of 32"),
        ({"request": '{"size": "1*1", "prompt": ""}'}, "prompt, size: decided by the task"),
        ({"request": "{"}, "no JSON"),
        ({"request": "[1]"}, "dict"),
        ({"worker_id": "two words"}, "pattern"),
        ({"timeout": float("nan")}, "finite"),
    ],
)
def test_settings_that_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        settings(**changes)


def test_settings_that_are_taken(monkeypatch):
    assert settings(base_url="http://[::1]:3000/x/").base_url == "http://[::1]:3000/x"
    assert settings(base_url="http://control.internal", allow_http=True)
    assert settings(token=f"{TOKEN}\n").token.get_secret_value() == TOKEN
    assert settings().worker_id != settings().worker_id
    assert TOKEN not in repr(settings())
    monkeypatch.setenv("ATELIER_JOBS_REQUEST", '{"sample_steps": 30}')
    assert settings().request == {"sample_steps": 30}
