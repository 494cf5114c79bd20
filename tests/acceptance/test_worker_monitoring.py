"""What a worker tells those who watch it: its metrics, and its log."""

import json
import re
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from rig.servers import RedisServer
from support.commands import Terminal, draw_many
from support.webhook_receiver import SECRET, Behaviour, WebhookReceiver

from tagger import metrics
from worker.logs import FIELDS


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})
    draw_many(terminal.folder / "photos", 20)
    (terminal.folder / "photos" / "broken-holiday.jpg").write_text("no picture")
    return terminal


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def samples(port: int) -> dict[tuple[str, ...], float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_the_documented_metrics_are_those_there_are() -> None:
    page = Path("docs/how-to/monitor.md").read_text()
    documented = set(re.findall(r"^\| `(tagger_\w+)", page, flags=re.MULTILINE))
    families = {family.name: family.type for metric in vars(metrics).values() for family in collected(metric)}
    assert documented == {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}


def collected(metric: object) -> list[Metric]:
    return list(metric.collect()) if isinstance(metric, MetricWrapperBase) else []


def test_a_worker_serves_its_metrics_where_a_port_is_set(terminal: Terminal) -> None:
    port = free_port()
    terminal.environment |= {"TAGGER_METRICS_PORT": str(port), "TAGGER_BATCH_SIZE": "8"}
    with terminal.workers(1):
        terminal.json("enqueue", "--wait", "photos", code=3)
        seen = samples(port)
        taken = terminal.run("worker", code=1)
    assert seen["tagger_photos_total", "tagged"] == 16
    assert seen["tagger_photos_total", "unknown"] == 4
    assert seen["tagger_photos_total", "failed"] == 1
    assert seen["tagger_failures_total", "not-an-image"] == 1
    for stage in ("read", "digest", "decode", "model", "store"):
        assert seen["tagger_stage_seconds_count", stage] > 0
        assert seen["tagger_stage_cpu_seconds_total", stage] > 0
    assert seen["tagger_batch_fill_count",] == seen["tagger_stage_seconds_count", "model"]
    assert seen["tagger_queue_depth", "bulk"] == 0
    assert (seen["tagger_batch_size",], seen["tagger_chunks_held",], seen["tagger_reads_hung",]) == (8, 0, 0)
    assert (seen["tagger_retries_total",], seen["tagger_leases_returned_total",]) == (0, 0)
    assert f"metrics_port: 127.0.0.1:{port}: Address already in use" in taken.stderr


@pytest.mark.slow
def test_metrics_count_the_events_of_webhooks_and_the_attempts_to_deliver_them(terminal: Terminal) -> None:
    port = free_port()
    terminal.inject(values="worker.webhook_threads.COUNT_S=0")
    pending, given_up = (("tagger_webhook_events", "default", state) for state in ("pending", "given_up"))
    delivered, failed = (
        ("tagger_webhook_attempts_total", "default", result) for result in ("delivered", "failed")
    )
    with WebhookReceiver() as receiver:
        receiver.behaviour = Behaviour(status=500)
        terminal.environment |= {
            "TAGGER_METRICS_PORT": str(port),
            "TAGGER_WEBHOOK_URL": receiver.url,
            "TAGGER_WEBHOOK_SECRET": SECRET,
        }
        with terminal.workers(1):
            terminal.json("enqueue", "--wait", "photos", code=3)
            terminal.wait_until(lambda: samples(port).get(pending) and samples(port).get(failed))
            seen = samples(port)
            assert (seen[given_up], delivered in seen) == (0, False)
            receiver.behaviour = Behaviour()
            events = terminal.json("webhook", "retry")["events"]
            terminal.wait_until(lambda: samples(port)[pending] == 0)
            assert samples(port)[delivered] == events


def rates_of(terminal: Terminal) -> list[float | None]:
    """The rate of each worker; None before its second sweep."""
    return [each.photos_per_second for each in terminal.active_workers()]


@pytest.mark.slow
def test_status_shows_the_rate_of_workers_and_devices(terminal: Terminal) -> None:
    terminal.inject(values="worker.sweeper.SWEEP_S=2")
    with terminal.workers(2):
        assert terminal.json("status")["devices"][0]["photos_per_second"] == 0
        terminal.json("enqueue", "--wait", "photos", code=3)
        terminal.wait_until(lambda: any(known := rates_of(terminal)) and None not in known)
        shown, text = terminal.json("status"), terminal.run("status").stdout
    rates = [worker["photos_per_second"] for worker in shown["workers"]]
    assert shown["devices"] == [
        {"device": "cpu", "workers": 2, "photos_per_second": pytest.approx(sum(rates))}
    ]
    assert re.search(r"^workers: tagger-\d+@\S+ \(cpu, .* photos/s\)", text, flags=re.MULTILINE)
    assert re.search(r"^devices: cpu \d+\.\d photos/s \(2 workers\)$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("paths", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_json_log_has_paths_only_on_request(terminal: Terminal, paths: bool) -> None:
    terminal.environment |= {"TAGGER_LOG_FORMAT": "json", "TAGGER_LOG_PATHS": str(paths).lower()}
    worker = terminal.start("-v", "worker")
    terminal.json("enqueue", "--wait", "photos", code=3)
    worker.terminate()
    assert worker.wait(60) == 0
    log = terminal.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (failed,) = [line for line in lines if line["message"] == "a photo failed"]
    expected = {"job": 1, "chunk": 0, "photo": failed["photo"], "kind": "not-an-image"}
    expected |= {"path": "broken-holiday.jpg"} if paths else {}
    assert {name: failed[name] for name in FIELDS if name in failed} == expected
    assert ("broken-holiday" in log) is paths
    assert {"time", "level", "logger", "message"} <= failed.keys()
