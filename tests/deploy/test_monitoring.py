"""Rules and dashboard: what promtool says of them, and whether every metric and label in them is exported."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import yaml
from prometheus_client import generate_latest

from atelier.client import Client
from atelier.serving.ports import free_ports
from clients.job_worker.observing import Metrics as JobMetrics
from clients.job_worker.observing import Outcome
from clients.redis_bridge.bridge import Bridge
from clients.redis_bridge.observing import Metrics as BridgeMetrics
from clients.redis_bridge.probe import SILENCE
from clients.redis_bridge.settings import Settings as BridgeSettings
from tests.conftest import ROOT
from tests.deploy.reading import DEPLOY, OVERLAYS, objects, outcomes

MONITORING = DEPLOY / "monitoring"
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD = json.loads((MONITORING / "grafana" / "atelier.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

TARGET = {"instance", "job", "namespace", "pod"}
"""Labels that Prometheus gives every sample by itself, in Kubernetes the last two."""

GPU = {
    "nv_gpu_memory_used_bytes": {"gpu_uuid"},
    "nv_gpu_memory_total_bytes": {"gpu_uuid"},
    "nv_gpu_power_usage": {"gpu_uuid"},
    "nv_gpu_utilization": {"gpu_uuid"},
}
"""What Triton exports where there is a GPU, by its documentation (docs/user_guide/metrics.md); not seen here."""

WORDS = {
    "absent", "and", "by", "clamp_min", "histogram_quantile", "increase", "max", "max_over_time", "offset", "on", "or",
    "rate", "resets", "round", "sum", "time", "unless", "vector",
    "label_values",
}  # fmt: skip
"""PromQL's and Grafana's, as they are used here."""


def promtool(*arguments):
    run = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_promtool_reads_configuration_and_rules():
    promtool("check", "config", "prometheus.yml")


def test_rules_do_what_they_should():
    promtool("test", "rules", "rules.test.yml")


def test_every_alert_is_tested_and_has_its_section_in_the_runbook():
    tested = (MONITORING / "rules.test.yml").read_text(encoding="utf-8")
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in ALERTS:
        name = rule["alert"]
        assert f"alertname: {name}" in tested, name
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert f"\n### {name}\n" in runbook, name
        assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.findall(r"^### (Atelier\w+)$", runbook, re.MULTILINE) == [rule["alert"] for rule in ALERTS]


def test_what_is_derived_is_as_its_source_is():
    code = "import json, generate; print(json.dumps([[str(f), t] for f, t in generate.outputs().items()]))"
    run = subprocess.run([sys.executable, "-c", code], cwd=MONITORING, capture_output=True, text=True, check=True)
    for file, text in json.loads(run.stdout):
        assert (MONITORING / file).read_text(encoding="utf-8") == text, f"{file}: run deploy/monitoring/generate.py"


def test_the_dashboard_has_no_two_panels_in_one_place():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for index, one in enumerate(DASHBOARD["panels"]):
        for other in DASHBOARD["panels"][:index]:
            assert apart(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def apart(one, other):
    """Whether two rectangles have nothing in common."""
    across = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    return across or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_what_was_asked_for_is_on_the_dashboard():
    queries = "\n".join(target["expr"] for panel in PANELS for target in panel["targets"])
    for metric in (
        "atelier_requests_total", "nv_inference_request_failure", "nv_inference_queue_duration_us",
        "nv_inference_compute_infer_duration_us", "model:atelier_batch_size:5m", "nv_inference_pending_request_count",
        "atelier_shared_memory_bytes", "nv_gpu_memory_used_bytes", "atelier_memory_bytes",
        "atelier_step_seconds_bucket", "atelier_lora_effect", "atelier_bridge_in_flight", "atelier_jobs_ended_total",
    ):  # fmt: skip
        assert metric in queries, metric


def samples(text):
    """The metrics of a page in Prometheus' format: name to labels."""
    found = {}
    for name, labels in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+(?: \d+)?$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


@pytest.fixture(scope="module")
def exported(server, launch):
    """What is exported, with the labels of each: by a server that has answered a request, by a model that shows all
    there is to show, by a bridge, by a job worker, by the recording rules; the GPU's by their list."""
    with Client(server.grpc_url) as client:
        blank = np.zeros((64, 64, 3), np.uint8)
        client.inpaint(blank, np.eye(64, dtype=np.uint8))
    showing = launch(ROOT / "tests" / "deploy" / "models")
    found = {}
    for each in (server, showing):
        with urllib.request.urlopen(each.metrics_url, timeout=10) as page:
            found |= samples(page.read().decode("utf-8"))
    found |= samples(bridge_page()) | samples(job_worker_page()) | GPU | {"up": {"job"}}
    for rule in RULES:
        if "record" in rule:
            found[rule["record"]] = grouped(rule["expr"])
    return found


def bridge_page():
    """The metrics of a bridge before its first task: it has found no Redis, and was told to stop."""
    metrics, (nobody,) = BridgeMetrics(), free_ports(1)
    bridge = Bridge(BridgeSettings(redis_url=f"redis://127.0.0.1:{nobody}/0", stream="inpainting"), metrics)
    bridge.stopping.set()
    asyncio.run(bridge.run())
    return generate_latest(metrics.registry).decode("utf-8")


def job_worker_page():
    """The metrics of a job worker before its first task."""
    return generate_latest(JobMetrics().registry).decode("utf-8")


def test_what_workers_count_is_there_before_it_happens_first():
    """`increase` sees no step from nothing to 1: a first dead letter, a first failed video."""
    page, settings = bridge_page(), BridgeSettings(stream="inpainting")
    for queue in (settings.long_queue, settings.short_queue, settings.stream):
        for word in ("taken", "answered", "failed", "retried", "dead", "recovered"):
            assert f'\natelier_bridge_{word}_total{{queue="{queue}"}} 0.0\n' in page
    page = job_worker_page()
    for outcome in Outcome:
        assert f'\natelier_jobs_ended_total{{outcome="{outcome.value}"}} 0.0\n' in page


def test_the_bridge_s_probe_and_its_alert_have_one_patience():
    (rule,) = (rule for rule in ALERTS if rule["alert"] == "AtelierBridgeSilent")
    assert float(rule["expr"].rpartition(">")[2]) == SILENCE


def test_operators_links_may_lead_to_a_reader_s_own_repository():
    code = "import generate; generate.RUNBOOKS = 'https://git.example/'; print(generate.operator_rules())"
    run = subprocess.run([sys.executable, "-c", code], cwd=MONITORING, capture_output=True, text=True, check=True)
    groups = yaml.safe_load(run.stdout)["spec"]["groups"]
    links = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert links == [f"https://git.example/{rule['annotations']['runbook_url']}" for rule in ALERTS]


def test_panels_say_that_canaries_count():
    notes = {panel["title"]: panel["description"] for panel in PANELS}
    for title in ("Queue, mean of a request", "Mean batch", "Pending"):
        assert "canar" in notes[title], title
    code = "import json, generate; print(json.dumps(sorted(generate.NOTES)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=MONITORING, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == sorted(title for title, note in notes.items() if note)


def grouped(query):
    """The labels that a query's result has."""
    return {name.strip() for names in re.findall(r"by \(([^)]*)\)", query) for name in names.split(",")}


def asked():
    """Every query there is, with its place."""
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    yield "the choice of models", DASHBOARD["templating"]["list"][0]["query"]["query"]
    for overlay in OVERLAYS:
        for name, scaled in objects(overlay, "ScaledObject").items():
            yield f"{overlay} {name}", scaled["spec"]["triggers"][0]["metadata"]["query"]


def test_every_metric_and_label_that_is_asked_for_is_exported(exported):
    for place, query in asked():
        bare = re.sub(r'"[^"]*"', '""', query)
        outside = re.sub(r"\b(by|on) \([^)]*\)", r"\1 ", bare)
        if place == "the choice of models":
            outside = outside.replace(", model", "")
        metrics = set(re.findall(r"(?<![\w:])[a-zA-Z_][\w:]*", re.sub(r"\{[^}]*\}|\[[^]]*\]", "", outside))) - WORDS
        metrics = {name for name in metrics if not re.fullmatch(r"\d*[emhsd]\d*", name)}
        assert metrics, place
        assert metrics <= exported.keys(), f"{place}: {metrics - exported.keys()}"
        used = {
            label.strip() for labels in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+) ?[=!]", labels)
        }
        known = set().union(*(exported[name] for name in metrics)) | TARGET | {"le"}
        assert used | grouped(query) <= known, f"{place}: {(used | grouped(query)) - known}"


def test_legends_name_labels_that_are_there():
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert label in grouped(target["expr"]) | GPU.get(target["expr"], set()) | TARGET | {"model"}, panel[
                    "title"
                ]


def test_the_outcomes_that_rules_look_for_are_the_server_s_own():
    text = "\n".join(rule["expr"] for rule in RULES)
    asked = set(re.findall(r'atelier_requests_total\{outcome!?="(\w+)"', text))
    assert {"internal", "unavailable"} <= asked <= outcomes()
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"\| `atelier_requests_total` \| `model`, `outcome` \(([^)]*)\)", page)
    assert set(re.findall(r"`(\w+)`", row)) == outcomes()
    ends = {word for words in re.findall(r'ended_total\{outcome=~?"([\w|]+)"', text) for word in words.split("|")}
    assert {"completed", "failed"} <= ends <= {outcome.value for outcome in Outcome}
