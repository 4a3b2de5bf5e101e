"""Write what is derived from a source: the operator's rules, and Grafana's dashboard.

usage: python deploy/monitoring/generate.py

``prometheusrule.yaml`` is ``rules.yml`` as the Prometheus operator wants it; ``grafana/atelier.json`` is made of the
rows below. A test sees that both are as this program writes them.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent

PANELS: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    # Row: (title, unit, legend to query). Grafana's units: s, bytes, reqps, percentunit, short.
    "Requests": [
        ("Requests by outcome", "reqps", {
            "{{model}} {{outcome}}":
                'sum by (model, outcome) (rate(atelier_requests_total{model=~"$model"}[$__rate_interval]))',
        }),
        ("Errors by reason", "reqps", {
            "{{model}} {{reason}}":
                'sum by (model, reason) (rate(nv_inference_request_failure{model=~"$model"}[$__rate_interval])) > 0',
        }),
        ("Share that fails for the server's fault", "percentunit", {
            "{{model}}": 'model:atelier_failures:ratio5m{model=~"$model"}',
        }),
        ("Servers that answer", "short", {"{{job}}": 'sum by (job) (up{job=~"atelier.*"})'}),
    ],
    "Queues and batches": [
        ("Queue, mean of a request", "s", {
            "{{model}}":
                'sum by (model) (rate(nv_inference_queue_duration_us{model=~"$model"}[$__rate_interval])) / 1e6'
                ' / (sum by (model) (rate(nv_inference_request_success{model=~"$model"}[$__rate_interval])) > 0)',
        }),
        ("Computing, mean of a request", "s", {
            "{{model}}":
                'sum by (model) (rate(nv_inference_compute_infer_duration_us{model=~"$model"}[$__rate_interval])) / 1e6'
                ' / (sum by (model) (rate(nv_inference_request_success{model=~"$model"}[$__rate_interval])) > 0)',
        }),
        ("Queue against computing", "short", {"{{model}}": 'model:atelier_queue_ratio:5m{model=~"$model"}'}),
        ("Mean batch", "short", {"{{model}}": 'model:atelier_batch_size:5m{model=~"$model"}'}),
        ("Pending", "short", {
            "{{model}}, Triton's queue": 'sum by (model) (nv_inference_pending_request_count{model=~"$model"})',
            "{{model}}, its own queue": 'sum by (model) (atelier_waiting_requests{model=~"$model"})',
        }),
        ("Whole request, p50 and p99 of each server", "s", {
            "{{model}} {{quantile}}": 'max by (model, quantile) (nv_inference_request_summary_us{model=~"$model",'
            ' quantile=~"0.5|0.99"}) / 1e6',
        }),
    ],
    "Pipelines": [
        ("Seconds of a step, mean", "s", {
            "{{model}} {{step}}":
                'sum by (model, step) (rate(atelier_step_seconds_sum{model=~"$model"}[$__rate_interval]))'
                ' / (sum by (model, step) (rate(atelier_step_seconds_count{model=~"$model"}[$__rate_interval])) > 0)',
        }),
        ("Seconds of a step, p95", "s", {
            "{{model}} {{step}}": "histogram_quantile(0.95, sum by (model, step, le)"
            ' (rate(atelier_step_seconds_bucket{model=~"$model"}[$__rate_interval])))',
        }),
        ("Videos with an adapter", "short", {
            "{{adapter}}": "sum by (adapter) (increase(atelier_lora_videos_total[1h]))",
        }),
        ("What adapters change", "short", {"{{adapter}}": "max by (adapter) (atelier_lora_effect)"}),
    ],
    "Memory and machines": [
        ("/dev/shm", "bytes", {"{{instance}} {{state}}": "sum by (instance, state) (atelier_shared_memory_bytes)"}),
        ("After loading, by stage", "bytes", {
            "{{model}} {{stage}} {{kind}}": 'max by (model, stage, kind) (atelier_memory_bytes{model=~"$model"})',
        }),
        ("Memory of the machine", "bytes", {
            "{{instance}} used": "nv_cpu_memory_used_bytes", "{{instance}} of": "nv_cpu_memory_total_bytes",
        }),
        ("Memory of the GPUs", "bytes", {
            "{{gpu_uuid}} used": "nv_gpu_memory_used_bytes", "{{gpu_uuid}} of": "nv_gpu_memory_total_bytes",
        }),
        ("GPUs and CPUs at work", "percentunit", {
            "{{gpu_uuid}}": "nv_gpu_utilization", "{{instance}} CPU": "nv_cpu_utilization",
        }),
        ("Power of the GPUs", "watt", {"{{gpu_uuid}}": "nv_gpu_power_usage"}),
    ],
    "Redis bridge and job worker": [
        ("Bridge: tasks", "reqps", {
            f"{{{{queue}}}} {word}": f"sum by (queue) (rate(atelier_bridge_{word}_total[$__rate_interval]))"
            for word in ("taken", "answered", "failed", "retried", "dead", "recovered")
        }),
        ("Bridge: at work", "short", {"{{queue}}": "sum by (queue) (atelier_bridge_in_flight)"}),
        ("Bridge: seconds of a task, p50 and p95", "s", {
            f"{{{{queue}}}} p{share:.0%}".rstrip("%"): f"histogram_quantile({share}, sum by (queue, le)"
            " (rate(atelier_bridge_seconds_bucket[$__rate_interval])))"
            for share in (0.5, 0.95)
        }),
        ("Jobs: how they end, in an hour", "short", {
            "{{outcome}}": "sum by (outcome) (increase(atelier_jobs_ended_total[1h]))",
            "taken": "sum(increase(atelier_jobs_taken_total[1h]))",
            "{{step}} again": "sum by (step) (increase(atelier_jobs_retried_total[1h]))",
        }),
        ("Jobs: at work", "short", {"{{instance}}": "sum by (instance) (atelier_jobs_in_flight)"}),
        ("Jobs: seconds of a task, p95", "s", {
            "{{outcome}}": "histogram_quantile(0.95, sum by (outcome, le) (increase(atelier_jobs_seconds_bucket[6h])))",
        }),
    ],
}  # fmt: skip

SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, ACROSS = 8, 8, 24

CANARIES = "The launcher's canaries, a request in 5 s of every model that has one, count here as any other."
NOTES = {"Queue, mean of a request": CANARIES, "Computing, mean of a request": CANARIES, "Mean batch": CANARIES,
         "Pending": "Of each model's requests in Triton's queue one may be the launcher's canary."}  # fmt: skip
"""What a panel's title does not say, by title."""

RUNBOOKS = ""
"""Put before the operator's runbook_url, which are paths in this repository: its address where your people read it, for
instance https://git.example/atelier/blob/main/."""


def dashboard() -> dict[str, Any]:
    """Grafana's dashboard, in its JSON model of version 39 (Grafana 10.4 and newer)."""
    numbers, panels, y = count(1), [], 0
    for row, content in PANELS.items():
        place = {"x": 0, "y": y, "w": ACROSS, "h": 1}
        panels.append(
            {"id": next(numbers), "type": "row", "title": row, "collapsed": False, "panels": [], "gridPos": place}
        )
        y += 1
        for index, (title, unit, queries) in enumerate(content):
            x = index * WIDTH % ACROSS
            panels.append(panel(next(numbers), title, unit, queries, x, y + index * WIDTH // ACROSS * HEIGHT))
        y += -(-len(content) * WIDTH // ACROSS) * HEIGHT
    return {
        "uid": "atelier",
        "title": "Atelier",
        "tags": ["atelier", "triton"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [model_variable()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def panel(number: int, title: str, unit: str, queries: dict[str, str], x: int, y: int) -> dict[str, Any]:
    """One panel with its curves."""
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": NOTES.get(title, ""),
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10}}, "overrides": []},
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(queries.items())
        ],
    }


def model_variable() -> dict[str, Any]:
    """The choice of models at the top."""
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(nv_inference_count, model)", "refId": "model"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def operator_rules() -> str:
    """``rules.yml`` as a ``PrometheusRule``."""
    source = (HERE / "rules.yml").read_text(encoding="utf-8")
    groups = "".join(f"  {line}\n" if line else "\n" for line in source[source.index("groups:") :].splitlines())
    head = "# Made of rules.yml by generate.py.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
    text = f"{head}metadata:\n  name: atelier\nspec:\n{groups}"
    assert yaml.safe_load(text)["spec"] == yaml.safe_load(source)
    return text.replace("runbook_url: ", f"runbook_url: {RUNBOOKS}")


def outputs() -> dict[Path, str]:
    """What is written, by file."""
    return {
        HERE / "prometheusrule.yaml": operator_rules(),
        HERE / "grafana" / "atelier.json": json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for file, text in outputs().items():
        file.write_text(text, encoding="utf-8")
