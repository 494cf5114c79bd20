"""deploy/helm and deploy/observability: the manifests that helm renders are valid and hardened; alerts and a dashboard over metrics that workers serve."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import REGISTRY
from support.command_words import check_command

import tagger.system.metrics  # noqa: F401 - registers the metrics
from tagger.settings import Settings

PROJECT = Path(__file__).parents[2]
CHART = PROJECT / "deploy" / "helm" / "tagger"
KUBERNETES = "1.33"
EVERYTHING = (
    "workers.cuda.enabled=true",
    "workers.cpu.autoscaling.enabled=true",
    "metrics.enabled=true",
    "web.ingress.enabled=true",
    "web.trustedProxies={10.0.0.0/8}",
    "web.settings.TAGGER_WEB_USER_ROLE=viewer",
    "authoritySecret=authority",
    "ownerSecret=owner",
    "photos.volume.persistentVolumeClaim.claimName=photos",
    "settings.TAGGER_LANGUAGE=de",
    "networkPolicy.egressNetworks={10.1.0.0/16}",
    "image.pullSecrets[0].name=registry",
)
"""Values that turn on every part of the chart."""
FOLDER = PROJECT / "deploy" / "observability"
OF_PROMETHEUS = {"up"}
"""What Prometheus itself records of each worker."""
OF_LINUX = {"process_resident_memory_bytes"}
"""What prometheus-client serves where there is /proc."""


@pytest.fixture(scope="module")
def helm() -> str:
    program = shutil.which("helm") or str(PROJECT / "build" / "helm" / "helm")
    if not Path(program).is_file():
        pytest.skip("helm is not installed; run: make helm")
    return program


@pytest.fixture(scope="module")
def manifests(helm: str) -> list[dict[str, Any]]:
    """The manifests with everything turned on."""
    return _rendered(helm, EVERYTHING)


def test_settings_and_commands_of_the_chart_exist() -> None:
    """Without helm. With it, the other tests look at what it renders."""
    text = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    names = set(re.findall(r"\bTAGGER_(\w+)", text))
    assert {"WEB_URL", "METRICS_PORT"} <= names
    assert {name.lower() for name in names} <= set(Settings.model_fields)
    commands = [yaml.safe_load(words) for words in re.findall(r"\bargs: (\[[^\]{]*\])", text)]
    assert ["serve", "--host", "0.0.0.0"] in [words[:3] for words in commands]
    for words in commands:
        check_command(words)


@pytest.mark.slow
def test_chart_has_no_faults(helm: str) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "values", [(), ("web.enabled=false",), EVERYTHING], ids=["default", "no page", "all"]
)
def test_manifests_match_the_schemas_of_kubernetes(helm: str, values: Sequence[str]) -> None:
    for manifest in _rendered(helm, values):
        if not manifest["apiVersion"].startswith("keda.sh/"):  # not a part of Kubernetes
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.slow
def test_there_is_a_deployment_for_each_device_class(manifests: list[dict[str, Any]]) -> None:
    deployments = {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "Deployment"}
    assert deployments == {"rel-worker-cpu", "rel-worker-cuda", "rel-beat", "rel-web"}
    # Their servers may be away for long.
    assert "livenessProbe" not in _container(manifests, "rel-worker-cpu")
    assert _container(manifests, "rel-worker-cuda")["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert _container(manifests, "rel-worker-cuda")["image"].endswith("-cuda")


@pytest.mark.slow
def test_pods_and_containers_are_hardened(manifests: list[dict[str, Any]]) -> None:
    pods = list(_pods(manifests))
    assert len(pods) == 5
    for pod in pods:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "fsGroup" not in security  # it changes the group and permissions of all files on a volume
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            writable = {
                mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")
            }
            assert writable == {"/data", "/tmp"}


@pytest.mark.slow
def test_commands_probes_and_settings_exist(
    manifests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for manifest in manifests:
        for container in _containers(manifest):
            check_command(container["args"])
            assert {each["name"] for each in container.get("env", ())} <= {
                f"TAGGER_{name.upper()}" for name in Settings.model_fields
            }
            with monkeypatch.context() as environment:
                for variable in container.get("env", ()):
                    environment.setenv(variable["name"], variable.get("value", "from a secret"))
                assert Settings().language == "de"
            probes = [value for name, value in container.items() if name.endswith("Probe")]
            assert bool(probes) == (manifest["kind"] == "Deployment")
            for probe in probes:
                if "exec" in probe:
                    program, *words = probe["exec"]["command"]
                    assert program == "tagger"
                    check_command(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "address"),
    [
        (("web.url=https://a.example", "web.enabled=false"), "https://a.example"),
        (("settings.TAGGER_WEB_URL=https://b.example",), "https://b.example"),
        (("web.ingress.enabled=true",), "https://photos.example.org"),
        (("web.ingress.enabled=true", "web.enabled=false"), None),
    ],
)
def test_all_know_the_address_of_the_page(helm: str, values: Sequence[str], address: str | None) -> None:
    manifests = _rendered(helm, values)
    deployments = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    containers = [container for each in deployments for container in _containers(each)]
    variables = [
        {each["name"]: each["value"] for each in container.get("env", ())} for container in containers
    ]
    assert len(variables) >= 2
    assert {each.get("TAGGER_WEB_URL") for each in variables} == {address}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("web.enabled=false,workers.cpu.autoscaling.enabled=true", "set web.enabled"),
    ],
)
def test_incomplete_values_are_refused(helm: str, values: str, problem: str) -> None:
    command = [helm, "template", "rel", CHART, "--set", values]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert problem in done.stderr


@pytest.mark.slow
def test_schema_is_upgraded_before_pods_change_as_its_owner(manifests: list[dict[str, Any]]) -> None:
    job = _named(manifests, "Job", "rel-migration")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["db", "upgrade"]
    assert container["envFrom"] == [{"secretRef": {"name": "owner"}}]


@pytest.mark.slow
def test_workers_scale_with_the_photos_that_wait(manifests: list[dict[str, Any]]) -> None:
    spec = _named(manifests, "ScaledObject", "rel-worker-cpu")["spec"]
    assert spec["scaleTargetRef"] == {"name": "rel-worker-cpu"}
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "metrics-api"
    assert trigger["metadata"]["valueLocation"] == "waiting_photos"
    access = _named(manifests, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert access["spec"]["secretTargetRef"] == [
        {"parameter": "token", "name": "tagger", "key": "TAGGER_WEB_TOKEN"}
    ]
    assert "replicas" not in _named(manifests, "Deployment", "rel-worker-cpu")["spec"]


def _rendered(helm: str, values: Sequence[str]) -> list[dict[str, Any]]:
    sets = [word for value in values for word in ("--set", value)]
    command = [helm, "template", "rel", str(CHART), *sets]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def _named(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name))


def _container(manifests: list[dict[str, Any]], deployment: str) -> dict[str, Any]:
    return next(_containers(_named(manifests, "Deployment", deployment)))


def _pods(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for manifest in manifests:
        if manifest["kind"] in {"Deployment", "Job"}:
            yield manifest["spec"]["template"]["spec"]


def _containers(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for pod in _pods([dict(manifest)]):
        yield from pod["containers"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    document: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "dashboard.json").read_text())
    return document["panels"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def served() -> set[str]:
    """The names of the series of a worker that has just started."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    families = list(REGISTRY.collect())
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, [""])}


def test_alerts_and_dashboard_use_metrics_that_workers_serve() -> None:
    used = {
        name
        for expression in expressions()
        for name in re.findall(r"\b(?:(?:tagger|process)_\w+|up)\b(?=[ {\[)]|$)", expression)
    }
    assert used - OF_PROMETHEUS - OF_LINUX <= served()
    assert {f"{name}_total" for name in ("tagger_photos", "tagger_failures")} <= used


def test_every_alert_is_documented_and_has_a_remedy() -> None:
    page = (PROJECT / "docs" / "how-to" / "monitor.md").read_text()
    documented = re.findall(r"^\| `(Tagger\w+)`", page, flags=re.MULTILINE)
    assert documented == [rule["alert"] for rule in alerts()]
    assert all({"summary", "description"} <= rule["annotations"].keys() for rule in alerts())


@pytest.fixture
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; it is in Debian's package prometheus")
    return program


def test_prometheus_accepts_the_alerts_and_raises_each_one_when_it_should(promtool: str) -> None:
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]):
        done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = (FOLDER / "alerts-test.yml").read_text()
    assert all(f"alertname: {rule['alert']}\n        exp_alerts: [{{" in tested for rule in alerts())


def test_prometheus_accepts_the_configuration_of_the_page_that_explains_it(
    promtool: str, tmp_path: Path
) -> None:
    page = (PROJECT / "docs" / "how-to" / "monitor.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    # Debian's Prometheus is built without Kubernetes; the chart's tests look at that example.
    (example,) = (each for each in examples if "kubernetes_sd_configs" not in each)
    file = tmp_path / "prometheus.yml"
    file.write_text(example)
    command = [promtool, "check", "config", "--syntax-only", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
