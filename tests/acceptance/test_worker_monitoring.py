"""What a worker tells those who watch it: its metrics, its log, its webhooks and its rate."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from rig.servers import RedisServer, free_port
from support.commands import Terminal, draw_many
from support.webhook_receiver import SECRET, Behaviour, WebhookReceiver, is_signed

from tagger.system import metrics
from worker.logs import FIELDS

Samples = dict[tuple[str, ...], float]
INTERVALS = (
    "tagger.webhooks.COUNT_S=0 tagger.webhooks.CHECK_S=0.2 worker.sweeper.SWEEP_S=1 "
    "tagger.database.events.PAUSES_S=[3600]"
)
"""An event is attempted once, and again by request: one that is retried during an attempt is sent twice."""
PENDING, GIVEN_UP = (("tagger_webhook_events", "default", state) for state in ("pending", "given_up"))
DELIVERED, FAILED = (
    ("tagger_webhook_attempts_total", "default", result) for result in ("delivered", "failed")
)


@dataclass(frozen=True)
class Watched:
    """What one worker told while it processed a job and sent events; its receiver refused them at first."""

    job: int
    events: int
    status: Any
    before_retry: Samples
    after_retry: Samples
    refused: str
    """What a second worker with the same port says."""
    log: str
    webhooks: WebhookReceiver


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    port = free_port()
    with RedisServer() as redis_server, WebhookReceiver() as webhooks:
        settings = {
            "TAGGER_REDIS_URL": redis_server.url,
            "TAGGER_METRICS_PORT": str(port),
            "TAGGER_BATCH_SIZE": "8",
            "TAGGER_WEBHOOKS": json.dumps({"default": {"url": webhooks.url, "secret": SECRET}}),
            "TAGGER_LOG_FORMAT": "json",
        }
        terminal = Terminal(tmp_path_factory.mktemp("terminal"), settings)
        draw_many(terminal.folder / "private", 40)
        (terminal.folder / "private" / "zz-broken.jpg").write_text("no picture")
        terminal.inject(values=INTERVALS)
        webhooks.behaviour = Behaviour(status=500)
        with terminal.workers(1, "-v"):
            job = terminal.json("enqueue", "--wait", "private", code=3)["job"]
            pending = terminal.json("status")["webhooks"]["pending"]
            terminal.wait_until(lambda: samples(port).get(PENDING) == samples(port).get(FAILED) == pending)
            terminal.wait_until(lambda: terminal.active_workers()[0].photos_per_second is not None)
            before_retry, status = samples(port), terminal.json("status")
            refused = terminal.run("worker", code=1).stderr
            webhooks.behaviour = Behaviour()
            webhooks.received.clear()
            assert terminal.json("people", "webhook", "retry")["events"] == pending
            terminal.wait_until(lambda: samples(port)[PENDING] == 0 and samples(port)[DELIVERED] == pending)
            after_retry = samples(port)
        log = terminal.log.read_text()
        yield Watched(job, pending, status, before_retry, after_retry, refused, log, webhooks)


def samples(port: int) -> Samples:
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


def test_a_worker_serves_its_metrics_where_a_port_is_set(watched: Watched) -> None:
    seen = watched.before_retry
    assert seen["tagger_photos_total", "tagged"] == 32
    assert seen["tagger_photos_total", "unknown"] == 8
    assert seen["tagger_photos_total", "failed"] == 1
    assert seen["tagger_failures_total", "not-an-image"] == 1
    for stage in ("read", "digest", "decode", "model", "store"):
        assert seen["tagger_stage_seconds_count", stage] > 0
        assert seen["tagger_stage_cpu_seconds_total", stage] > 0
    assert seen["tagger_batch_fill_count",] == seen["tagger_stage_seconds_count", "model"]
    assert seen["tagger_queue_depth", "bulk"] == 0
    assert (seen["tagger_batch_size",], seen["tagger_chunks_held",], seen["tagger_reads_hung",]) == (8, 0, 0)
    assert (seen["tagger_retries_total",], seen["tagger_leases_returned_total",]) == (0, 0)
    assert "Address already in use" in watched.refused


def test_a_worker_sends_webhooks_and_counts_the_attempts(watched: Watched) -> None:
    assert watched.before_retry[PENDING] == watched.events > 1
    assert (watched.before_retry[GIVEN_UP], DELIVERED in watched.before_retry) == (0, False)
    assert watched.after_retry[DELIVERED] == watched.events == len(watched.webhooks.received)
    assert all(map(is_signed, watched.webhooks.received))


def test_status_shows_the_rate_of_workers_and_devices(watched: Watched) -> None:
    (seen,) = watched.status["workers"]
    assert watched.status["devices"] == [
        {"device": "cpu", "workers": 1, "photos_per_second": pytest.approx(seen["photos_per_second"])}
    ]


def test_a_json_log_has_no_paths(watched: Watched) -> None:
    lines = [json.loads(line) for line in watched.log.splitlines() if line.startswith("{")]
    (failed,) = [line for line in lines if line["message"] == "a photo failed"]
    expected = {"job": watched.job, "chunk": 1, "photo": failed["photo"], "kind": "not-an-image"}
    assert {name: failed[name] for name in FIELDS if name in failed} == expected
    assert "broken" not in watched.log
    assert {"time", "level", "logger", "message"} <= failed.keys()
