"""deploy/observability: alerts and a dashboard over metrics that workers serve."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import tagger.processes.metrics  # noqa: F401 - registers the metrics

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy" / "observability"
OF_PROMETHEUS = {"up"}
"""What Prometheus itself records of each worker."""
OF_LINUX = {"process_resident_memory_bytes"}
"""What prometheus-client serves where there is /proc."""


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


@pytest.mark.slow
def test_prometheus_accepts_the_alerts_and_raises_each_one_when_it_should(promtool: str) -> None:
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]):
        done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = (FOLDER / "alerts-test.yml").read_text()
    assert all(f"alertname: {rule['alert']}\n        exp_alerts: [{{" in tested for rule in alerts())


@pytest.mark.slow
def test_prometheus_accepts_the_configuration_of_the_page_that_explains_it(
    promtool: str, tmp_path: Path
) -> None:
    page = (PROJECT / "docs" / "how-to" / "monitor.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "prometheus.yml"
    file.write_text(example)
    command = [promtool, "check", "config", "--syntax-only", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
