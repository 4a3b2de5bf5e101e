"""The manifests as kustomize builds them: schemas, and what every family's server must have. No cluster was at hand."""

import subprocess

import pytest
import yaml

from clients.redis_bridge.settings import Settings as BridgeSettings
from clients.redis_bridge.stream import GROUP
from tests.conftest import ROOT
from tests.deploy.reading import (
    BRIDGE,
    DEPLOY,
    OVERLAYS,
    UNLOADING,
    known_variables,
    longest_wait,
    manifests,
    models,
    objects,
    program,
    serve_options,
)

FAMILIES = ("composite", "generate", "inpaint", "matte")
GPU = ("gpu-h100", "gpu-l4")
OLDEST, NEWEST = "1.30", "1.37"
"""Of Kubernetes: preStop's sleep is on by default since 1.30."""

OPERATORS = {
    "PodMonitor": {"podMetricsEndpoints", "selector"},
    "PrometheusRule": {"groups"},
    "ServiceMonitor": {"endpoints", "jobLabel", "selector"},
    "ScaledObject": {
        "advanced", "cooldownPeriod", "maxReplicaCount", "minReplicaCount", "pollingInterval", "scaleTargetRef",
        "triggers",
    },
    "TriggerAuthentication": {"secretTargetRef"},
}  # fmt: skip
"""Kinds that operators bring, which no schema is at hand for, with the fields of `spec` that are used: read in the
definitions of prometheus-operator and KEDA 2. Their content has tests of its own."""

ELSEWHERE = {"XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "STORE"}
"""Variables that are not Atelier's: of the XDG base directories, PyTorch's, and bring.py's."""


SERVERS = [(overlay, family) for overlay in OVERLAYS for family in (FAMILIES if overlay in GPU else ("inpaint",))]


@pytest.fixture(params=SERVERS, ids="-".join)
def deployment(request):
    """One family's Deployment in one overlay."""
    overlay, family = request.param
    return objects(overlay, "Deployment")[f"atelier-{family}"]


def pod_of(deployment):
    """The pod's specification."""
    return deployment["spec"]["template"]["spec"]


def server_of(deployment):
    """The server's container."""
    (server,) = pod_of(deployment)["containers"]
    return server


def loads(deployment):
    """The models that are named on its command line."""
    arguments = server_of(deployment)["args"]
    return arguments[arguments.index("--models") + 1]


def variables(deployment):
    """The server's environment, of variables that have a value here."""
    return {each["name"]: each.get("value") for each in server_of(deployment)["env"]}


@pytest.mark.parametrize(
    ("overlay", "version"),
    [*((overlay, OLDEST) for overlay in (*OVERLAYS, BRIDGE)), ("gpu-h100", NEWEST), (BRIDGE, NEWEST)],
)
def test_schemas_hold_strictly(overlay, version, tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(manifests(overlay), encoding="utf-8")
    command = [program("kubernetes-validate"), "-k", version, "--strict", file]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for line in (run.stdout + run.stderr).splitlines():
        if "WARN" in line:
            assert any(f"kind {kind} " in line for kind in OPERATORS), line


@pytest.mark.parametrize("overlay", [*OVERLAYS, BRIDGE])
def test_operators_kinds_have_fields_that_their_operators_know(overlay):
    for kind, fields in OPERATORS.items():
        for name, each in objects(overlay, kind).items():
            assert each["spec"].keys() <= fields, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_deployment_a_family(overlay):
    families = FAMILIES if overlay in GPU else ("inpaint",)
    assert objects(overlay, "Deployment").keys() == {f"atelier-{family}" for family in families}
    for family in families:
        assert objects(overlay, "PodDisruptionBudget")[f"atelier-{family}"]["spec"]["maxUnavailable"] == 1
        assert objects(overlay, "Service")[f"atelier-grpc-{family}"]["spec"]["clusterIP"] == "None"
        assert (
            objects(overlay, "Service")[f"atelier-{family}"]["spec"]["selector"]["app.kubernetes.io/component"]
            == family
        )


def test_models_flags_and_variables_exist(deployment):
    assert set(loads(deployment).split(",")) <= models().keys()
    assert {word for word in server_of(deployment)["args"] if word.startswith("--")} <= serve_options().keys()
    assert variables(deployment).keys() <= known_variables() | ELSEWHERE


def test_pods_are_locked_up(deployment):
    pod = pod_of(deployment)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert ":0.1.0-" in container["image"]
        assert container["resources"]["limits"]["memory"]


def test_places_that_are_written_to_are_volumes(deployment):
    mounts = {mount["mountPath"]: mount for mount in server_of(deployment)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(deployment)["volumes"]}
    assert {"/models", "/dev/shm", "/cache", "/tmp"} == mounts.keys()
    assert mounts["/models"]["readOnly"] is True
    shared = volumes[mounts["/dev/shm"]["name"]]["emptyDir"]
    assert shared["medium"] == "Memory"
    assert gibibytes(shared["sizeLimit"]) < gibibytes(server_of(deployment)["resources"]["limits"]["memory"]) / 4
    for name, value in variables(deployment).items():
        if name in ELSEWHERE:
            assert value.startswith("/cache")


def gibibytes(quantity):
    """Kubernetes' quantities of memory, as they are written here."""
    assert quantity.endswith("Gi")
    return int(quantity[:-2])


def test_draining_has_the_time_of_the_longest_work(deployment):
    server, given = server_of(deployment), int(variables(deployment)["ATELIER_EXIT_TIMEOUT"])
    before = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert given >= longest_wait(loads(deployment))
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= before + given + UNLOADING


def test_probes_ask_the_launcher(deployment):
    server = server_of(deployment)
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002, "health": 8003}
    assert server["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"] == {"path": "/readyz", "port": "health"}


@pytest.mark.parametrize("overlay", GPU)
def test_gpus_are_asked_for(overlay):
    for deployment in objects(overlay, "Deployment").values():
        assert server_of(deployment)["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert overlay.removeprefix("gpu-").upper() in pod_of(deployment)["nodeSelector"]["nvidia.com/gpu.product"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_lead_to_what_they_name(overlay):
    """What kustomize renamed is known by its new name everywhere; the one Secret that is not here is optional."""
    maps, there = objects(overlay, "ConfigMap"), objects(overlay, "Deployment")
    for deployment in there.values():
        named = [volume["configMap"]["name"] for volume in pod_of(deployment)["volumes"] if "configMap" in volume]
        (bring,) = pod_of(deployment)["initContainers"]
        named += [each["valueFrom"]["configMapKeyRef"]["name"] for each in bring["env"]]
        assert len(named) == 3
        assert set(named) <= maps.keys()
        assert pod_of(deployment)["serviceAccountName"] in objects(overlay, "ServiceAccount")
        for each in server_of(deployment)["env"]:
            if "valueFrom" in each:
                assert each["valueFrom"]["secretKeyRef"]["optional"] is True
    scaled = {**objects(overlay, "HorizontalPodAutoscaler"), **objects(overlay, "ScaledObject")}
    assert {each["spec"]["scaleTargetRef"]["name"] for each in scaled.values()} == there.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_lets_in_whom_it_should(overlay):
    (policy,) = objects(overlay, "NetworkPolicy").values()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    for deployment in objects(overlay, "Deployment").values():
        assert chosen <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert all(rule["from"] and rule["ports"] for rule in policy["spec"]["ingress"])
    (monitor,) = objects(overlay, "ServiceMonitor").values()
    scraped = [
        name
        for name, service in objects(overlay, "Service").items()
        if monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        and monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    ]
    assert sorted(scraped) == sorted(objects(overlay, "Deployment"))  # each pod once


def test_scaling_asks_for_what_is_exported():
    """The adapter's metric is the one that is recorded, and that the HorizontalPodAutoscaler asks for."""
    adapter = yaml.safe_load((DEPLOY / "monitoring" / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    rules = yaml.safe_load((DEPLOY / "monitoring" / "rules.yml").read_text(encoding="utf-8"))
    recorded = {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    scaler = objects("gpu-l4", "HorizontalPodAutoscaler")["atelier-inpaint"]
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == adapter["rules"][0]["name"]["as"]
    assert adapter["rules"][0]["seriesQuery"].split("{")[0] in recorded
    for name, each in objects("gpu-l4", "ScaledObject").items():
        (trigger,) = each["spec"]["triggers"]
        assert trigger["type"] == "prometheus"
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert name.removeprefix("atelier-") in FAMILIES


def test_images_are_those_that_the_dockerfile_makes():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for overlay in OVERLAYS:
        for deployment in objects(overlay, "Deployment").values():
            name, tag = server_of(deployment)["image"].split(":")
            assert f"-t {name}:{tag.partition('-')[0]}-" in text
            assert f"\n{tag.partition('-')[2]} = [" in extras


def test_the_bridge_finds_its_server_its_stream_and_its_scaler():
    bridge = objects(BRIDGE, "Deployment")["atelier-bridge"]
    labels, pod = bridge["spec"]["template"]["metadata"]["labels"], pod_of(bridge)
    (container,) = pod["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given.keys() <= known_variables()
    assert given["ATELIER_BRIDGE_URL"].split(":")[0] in objects(BRIDGE, "Service")
    policy = objects(BRIDGE, "NetworkPolicy")["atelier"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert policy.items() <= labels.items()
    assert pod["terminationGracePeriodSeconds"] > BridgeSettings.model_fields["timeout"].default
    (trigger,) = objects(BRIDGE, "ScaledObject")["atelier-bridge"]["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == given["ATELIER_BRIDGE_STREAM"]
    assert trigger["metadata"]["consumerGroup"] == GROUP
    assert trigger["authenticationRef"]["name"] in objects(BRIDGE, "TriggerAuthentication")
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
