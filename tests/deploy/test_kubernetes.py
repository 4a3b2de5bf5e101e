"""The manifests as kustomize builds them: schemas, and what every family's server must have. No cluster was at hand."""

import re
import shutil
import subprocess

import pytest
import yaml

from atelier.compositing.neural import holding
from atelier.compositing.settings import AnalyzerSettings, SynthesizerSettings
from atelier.generation import quantising
from atelier.generation.loading import LoadOptions
from atelier.serving.launcher import OWN_START
from atelier.serving.options import ServerOptions
from atelier.serving.watching import SILENCE
from clients.job_worker.settings import Settings as JobSettings
from clients.redis_bridge.probe import PATIENCE
from clients.redis_bridge.settings import Settings as BridgeSettings
from clients.redis_bridge.stream import GROUP
from tests.conftest import ROOT
from tests.deploy import kubectl
from tests.deploy.reading import (
    BRIDGE,
    COMPONENTS,
    DEPLOY,
    JOBS,
    NO_SPARE_GPU,
    OVERLAYS,
    UNLOADING,
    longest_wait,
    manifests,
    models,
    objects,
    packages,
    program,
    refused,
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
documentation of prometheus-operator and of KEDA 2, and in an old definition of KEDA's. What they hold has tests of its
own."""

ELSEWHERE = {"CUDA_CACHE_PATH", "STORE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME"}
"""Variables that are not Atelier's: CUDA's, bring.py's, PyTorch's, triton-lang's, of the XDG base directories."""


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
    [
        *((overlay, OLDEST) for overlay in (*OVERLAYS, *COMPONENTS)),
        *((overlay, NEWEST) for overlay in ("gpu-h100", BRIDGE, JOBS)),
    ],
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


@pytest.mark.parametrize("overlay", [*OVERLAYS, *COMPONENTS])
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
    others = {name for name in variables(deployment) if not name.startswith("ATELIER_")}
    assert others <= ELSEWHERE
    assert not refused(variables(deployment))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ATELIER_EXIT_TIMEOUT": "an hour"},
        {"ATELIER_ON_DEAD_STUB": "ignore"},
        {"ATELIER_OBJECT_SYNTHESIZER_PRESET": "l40"},
        {"ATELIER_GENERATE_T5_CPU": "perhaps"},
        {"ATELIER_BRIDGE_HEARTBEAT": "0"},
        {"ATELIER_JOBS_TOKEN": None, "ATELIER_JOBS_BASE_URL": None, "ATELIER_JOBS_LEASE_SECONDS": "0"},
        {"ATELIER_EXIT_TIME": "3600"},
    ],
)
def test_wrong_names_and_values_of_variables_are_seen(wrong):
    assert len(refused(wrong)) == 1


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
    for name in ELSEWHERE - {"STORE"}:
        assert variables(deployment)[name].startswith("/cache")


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


def test_the_liveness_probe_has_more_patience_than_the_launcher(deployment):
    """Which ends by itself, and says why, where it is let."""
    probe = server_of(deployment)["livenessProbe"]
    assert (probe["failureThreshold"] - 1) * probe["periodSeconds"] > SILENCE
    assert probe["timeoutSeconds"] <= probe["periodSeconds"]
    assert probe["terminationGracePeriodSeconds"] <= 60  # what hangs drains nothing


def test_starting_has_the_time_that_loading_may_take(deployment):
    server, given = server_of(deployment), variables(deployment).get("ATELIER_STUB_TIMEOUT", ServerOptions.stub_timeout)
    probe = server["startupProbe"]
    window = probe["failureThreshold"] * probe["periodSeconds"]
    assert window >= int(given) + OWN_START
    assert deployment["spec"]["progressDeadlineSeconds"] >= 2 * window  # the weights were brought before


def test_pods_whose_work_takes_long_are_not_moved_by_the_autoscaler(deployment):
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    long = pod_of(deployment)["terminationGracePeriodSeconds"] > 600  # what the cluster-autoscaler gives at most
    assert annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict") == ("false" if long else None)


@pytest.mark.parametrize("overlay", GPU)
def test_gpus_are_asked_for(overlay):
    for deployment in objects(overlay, "Deployment").values():
        assert server_of(deployment)["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert overlay.removeprefix("gpu-").upper() in pod_of(deployment)["nodeSelector"]["nvidia.com/gpu.product"]


def with_component(scratch, overlay, component):
    """The Deployments of an overlay that names a component itself, as its reader would write it."""
    shutil.copytree(DEPLOY, scratch / "deploy", ignore=shutil.ignore_patterns("secrets"))
    file = scratch / "deploy" / "k8s" / "overlays" / overlay / "kustomization.yaml"
    with file.open("a", encoding="utf-8") as text:
        text.write(f"components: [../../components/{component}]\n")
    run = subprocess.run([kubectl.install(), "kustomize", file.parent], capture_output=True, text=True, check=True)
    return {each["metadata"]["name"]: each for each in yaml.safe_load_all(run.stdout) if each["kind"] == "Deployment"}


@pytest.mark.parametrize(("overlay", "component"), [("cpu-small", BRIDGE), ("gpu-l4", BRIDGE), ("gpu-h100", JOBS)])
def test_an_overlay_s_patches_are_not_for_its_components(tmp_path, overlay, component):
    """A bridge needs no GPU."""
    (alone,) = objects(component, "Deployment").keys() - objects(COMPONENTS[component], "Deployment").keys()
    worker = with_component(tmp_path, overlay, component)[alone]
    assert worker == objects(component, "Deployment")[alone]
    assert "nvidia.com/gpu" not in pod_of(worker)["containers"][0]["resources"]["limits"]


def test_where_no_gpu_is_to_spare_an_old_pod_goes_first(tmp_path):
    turned = with_component(tmp_path, "gpu-l4", NO_SPARE_GPU)
    assert turned == objects(NO_SPARE_GPU, "Deployment")
    for name, deployment in objects("gpu-l4", "Deployment").items():
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert turned[name]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


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
        family = name.removeprefix("atelier-")
        named = re.findall(r'model=~?"([^"]*)"', trigger["metadata"]["query"])
        counted = {model for words in named for model in words.split("|")}
        assert counted <= models().keys()
        assert counted <= served(family), "it is scaled on what it does not serve"


def served(family):
    """The models that a family's server has: those that it is told, and what they call."""
    wanted = loads(objects("gpu-l4", "Deployment")[f"atelier-{family}"]).split(",")
    for name in wanted:  # which grows
        wanted += [other for other in models()[name].requires if other not in wanted]
    return set(wanted)


@pytest.mark.parametrize(
    ("family", "series", "value"),
    [
        ("matte", {}, None),  # which KEDA takes for 0
        ("matte", {("pending", "matte", "a"): 1, ("pending", "matte_sync", "a"): 1}, 0),  # canaries
        ("matte", {("pending", "matte", "a"): 5, ("pending", "matte_sync", "a"): 1, ("pending", "matte", "b"): 3}, 6),
        ("generate", {}, 0),
        ("generate", {("waiting", "generate", "a"): 2, ("pending", "generate_sync", "a"): 4}, 5),
        ("generate", {("pending", "generate_sync", "a"): 1, ("waiting", "composite_stream", "c"): 9}, 0),
        ("composite", {}, 0),
        ("composite", {("waiting", "composite_stream", "a"): 3}, 3),
        (
            "composite",
            {
                ("waiting", "object_synthesizer_stream", "a"): 1,
                **{("pending", model, "a"): 1 for model in ("background_analyzer", "mask_generator")},
                ("pending", "object_synthesizer", "a"): 8,
            },
            8,
        ),
    ],
)
def test_scaling_counts_what_waits_without_the_canaries(tmp_path, family, series, value):
    metrics = {"pending": "nv_inference_pending_request_count", "waiting": "atelier_waiting_requests"}
    labels = 'namespace="atelier", version="1"'
    given = [
        {"series": f'{metrics[kind]}{{{labels}, model="{model}", pod="{pod}"}}', "values": f"{count}x5"}
        for (kind, model, pod), count in series.items()
    ]
    (trigger,) = objects("gpu-l4", "ScaledObject")[f"atelier-{family}"]["spec"]["triggers"]
    expected = [] if value is None else [{"labels": "{}", "value": value}]
    asked = {"expr": trigger["metadata"]["query"], "eval_time": "3m", "exp_samples": expected}
    file = tmp_path / "query.test.yml"
    test = {"interval": "1m", "input_series": given, "promql_expr_test": [asked]}
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}), encoding="utf-8")
    run = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_images_are_those_that_the_dockerfile_makes():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for overlay in OVERLAYS:
        for deployment in objects(overlay, "Deployment").values():
            name, tag = server_of(deployment)["image"].split(":")
            assert f"-t {name}:{tag.partition('-')[0]}-" in text
            assert f"\n{extra_of(deployment)} = [" in extras


def extra_of(deployment):
    """The extra that the image has, by its tag: VERSION-EXTRA, and of upgrades VERSION-EXTRA-RELEASE."""
    return server_of(deployment)["image"].split(":")[1].split("-")[1]


@pytest.mark.parametrize("overlay", GPU)
def test_images_have_what_the_weights_are_quantised_with(overlay, monkeypatch):
    needed = set()
    for family in ("composite", "generate"):
        deployment = objects(overlay, "Deployment")[f"atelier-{family}"]
        for name, value in variables(deployment).items():
            if value is not None:
                monkeypatch.setenv(name, value)
        if family == "composite":
            settings = SynthesizerSettings()
            kinds = {AnalyzerSettings().quantisation, settings.quantisation}
            kinds.add(holding.PRESETS[settings.preset].get("quantisation", "none"))
            there = {holding.PACKAGES[kind] for kind in kinds - {"none"}}
        else:
            there = {quantising.PACKAGES[kind] for kind in {LoadOptions().quantisation} - {""}}
        assert there <= packages(extra_of(deployment)), family
        needed |= there
    assert "bitsandbytes" in needed  # of the scene's reader, whose default it is


def test_the_bridge_finds_its_server_its_stream_and_its_scaler():
    bridge = objects(BRIDGE, "Deployment")["atelier-bridge"]
    labels, pod = bridge["spec"]["template"]["metadata"]["labels"], pod_of(bridge)
    (container,) = pod["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert not refused(given)
    assert given["ATELIER_BRIDGE_URL"].split(":")[0] in objects(BRIDGE, "Service")
    policy = objects(BRIDGE, "NetworkPolicy")["atelier"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert policy.items() <= labels.items()
    assert pod["terminationGracePeriodSeconds"] > BridgeSettings.model_fields["timeout"].default
    (trigger,) = objects(BRIDGE, "ScaledObject")["atelier-bridge"]["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == given["ATELIER_BRIDGE_STREAM"]
    assert trigger["metadata"]["consumerGroup"] == GROUP
    assert {"lagCount", "activationLagCount"} <= trigger["metadata"].keys()  # the one needs the other
    assert trigger["authenticationRef"]["name"] in objects(BRIDGE, "TriggerAuthentication")
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["livenessProbe"]["exec"]["command"][1:] == ["-m", "clients.redis_bridge.probe"]
    assert (ROOT / "clients" / "redis_bridge" / "probe.py").is_file()
    assert container["livenessProbe"]["timeoutSeconds"] > PATIENCE


def test_the_job_worker_finds_its_server_its_control_plane_and_its_alerts():
    jobs = objects(JOBS, "Deployment")["atelier-jobs"]
    labels, pod = jobs["spec"]["template"]["metadata"]["labels"], pod_of(jobs)
    (container,) = pod["containers"]
    assert container["args"] == ["clients.job_worker"]
    assert (ROOT / "clients" / "job_worker" / "__main__.py").is_file()
    given = {each["name"]: each.get("value") for each in container["env"]}
    secret = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    assert secret == {
        "ATELIER_JOBS_BASE_URL": {"name": "atelier-jobs", "key": "base_url"},
        "ATELIER_JOBS_TOKEN": {"name": "atelier-jobs", "key": "token"},
    }
    assert not refused(given)
    assert given["ATELIER_JOBS_URL"].split(":")[0] in objects(JOBS, "Service")
    assert "generate" in served("generate")
    server = objects(JOBS, "NetworkPolicy")["atelier"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert server.items() <= labels.items()
    longest = sum(JobSettings.model_fields[name].default for name in ("timeout", "transfer_timeout", "api_timeout"))
    assert pod["terminationGracePeriodSeconds"] > longest
    own = objects(JOBS, "NetworkPolicy")["atelier-jobs"]["spec"]
    assert own["podSelector"]["matchLabels"].items() <= labels.items()
    assert {port["port"] for rule in own["egress"] for port in rule["ports"]} == {53, 443, 8001}
    metrics = {port["name"]: port["containerPort"] for port in container["ports"]}["metrics"]
    assert str(metrics) == given["ATELIER_JOBS_METRICS_PORT"]
    assert own["ingress"][0]["ports"] == [{"port": metrics}]
    monitor = objects(JOBS, "PodMonitor")["atelier-jobs"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert {"targetLabel": "job", "replacement": "atelier-jobs"} in endpoint["relabelings"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("overlay", [*OVERLAYS, BRIDGE, JOBS])
def test_names_are_found_also_where_the_node_answers_them(overlay):
    for policy in objects(overlay, "NetworkPolicy").values():
        (rule,) = (rule for rule in policy["spec"]["egress"] if {port["port"] for port in rule["ports"]} == {53})
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]


def test_the_table_of_pods_is_that_of_the_manifests():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    head, table = page.split("| family |")[1].split("\n\n")[0].split("\n|---|---|---|---|\n")
    columns = [cell.strip().strip("`") for cell in head.strip("| ").split("|")]
    rows = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in table.splitlines()]
    shown = {(column, family): cell for family, *cells in rows for column, cell in zip(columns, cells, strict=True)}
    there = {(overlay, family): pod_in_words(overlay, family) for overlay, family in SERVERS}
    assert {place: cell for place, cell in shown.items() if cell} == there


def pod_in_words(overlay, family):
    """GPU, memory, and volume of weights, as the page has them."""
    deployment = objects(overlay, "Deployment")[f"atelier-{family}"]
    limits = server_of(deployment)["resources"]["limits"]
    gpu = overlay.removeprefix("gpu-").upper() if "nvidia.com/gpu" in limits else "none"
    (volume,) = (volume for volume in pod_of(deployment)["volumes"] if volume["name"] == "models")
    if "ephemeral" in volume:
        size = volume["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
    else:
        size = volume["emptyDir"]["sizeLimit"]
    return f"{gpu}, {gibibytes(limits['memory'])} GiB, {gibibytes(size)} GiB"
