"""deploy/kubernetes.yaml: valid, hardened, and with settings, commands and secrets that exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.command_words import check_command

from tagger.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]
MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((PROJECT / "deploy" / "kubernetes.yaml").read_text())
)
PODS = {
    each["metadata"]["name"]: each["spec"]["template"] for each in MANIFESTS if "template" in each["spec"]
}
KUBERNETES = "1.33"


def containers() -> Iterator[dict[str, Any]]:
    for pod in PODS.values():
        yield from pod["spec"]["containers"]


def test_manifests_match_the_schemas_of_kubernetes() -> None:
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_each_selector_selects_its_own_pods() -> None:
    assert PODS.keys() == {"tagger-upgrade", "tagger-worker", "tagger-beat", "tagger-web"}
    for manifest in MANIFESTS:
        name, selector = manifest["metadata"]["name"], manifest["spec"].get("selector")
        labels = PODS[name]["metadata"]["labels"]
        assert labels == {"app": name}
        assert manifest["kind"] == "Job" or selector in (labels, {"matchLabels": labels})


def test_pods_and_containers_are_hardened() -> None:
    for pod in PODS.values():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "fsGroup" not in security  # it changes the group and permissions of all files on a volume
        assert pod["spec"]["automountServiceAccountToken"] is False
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"/data", "/tmp"}


def test_commands_probes_and_settings_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for container in containers():
        check_command(container["args"])
        for probe in (
            value for name, value in container.items() if name.endswith("Probe") and "exec" in value
        ):
            program, *words = probe["exec"]["command"]
            assert program == "tagger"
            check_command(words)
        for variable in container.get("env", ()):
            assert variable["name"].removeprefix("TAGGER_").lower() in Settings.model_fields
            monkeypatch.setenv(variable["name"], variable["value"])
    assert load_settings().web_folders == [Path("/photos")]


def test_only_a_page_that_does_not_answer_is_restarted() -> None:
    """Workers and beat may wait for their servers for long."""
    alive = {container["name"] for container in containers() if "livenessProbe" in container}
    assert alive == {"web"}


def test_the_secret_of_the_guide_is_the_one_of_the_manifest() -> None:
    guide = (PROJECT / "docs" / "how-to" / "deploy.md").read_text()
    secret = re.findall(r"create secret generic (\S+)", guide)
    assert {container["envFrom"][0]["secretRef"]["name"] for container in containers()} == set(secret)
    settings = re.findall(r"--from-literal=TAGGER_(\w+)=", guide)
    assert {name.lower() for name in settings} <= set(Settings.model_fields)
