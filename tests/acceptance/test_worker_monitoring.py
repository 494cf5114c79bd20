"""What a worker tells those who watch it: its metrics, its log and its rate."""

import json
import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from rig.servers import free_port
from support.commands import Terminal, draw_many

from tagger.processes import metrics
from worker.logs import FIELDS

Samples = dict[tuple[str, ...], float]


def samples(port: int) -> Samples:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_the_documented_metrics_are_those_there_are():
    page = Path("docs/how-to/monitor.md").read_text()
    documented = set(re.findall(r"^\| `(tagger_\w+)", page, flags=re.MULTILINE))
    families = {family.name: family.type for metric in vars(metrics).values() for family in collected(metric)}
    assert documented == {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}


def collected(metric: object) -> list[Metric]:
    return list(metric.collect()) if isinstance(metric, MetricWrapperBase) else []


def test_a_worker_serves_its_metrics_and_status_and_logs_show_rates_and_no_paths(tmp_path, redis_server):
    port = free_port()
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_METRICS_PORT": str(port)}
    settings |= {"TAGGER_BATCH_SIZE": "8", "TAGGER_LOG_FORMAT": "json"}
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "private", 40)
    (terminal.folder / "private" / "zz-broken.jpg").write_text("no picture")
    terminal.inject(values="worker.tasks.SWEEP_S=1")
    with terminal.workers(1, "-v"):
        job = terminal.json("enqueue", "--wait", "private", code=3)["job"]
        terminal.wait_until(lambda: terminal.active_workers()[0].photos_per_second is not None)
        seen, status = samples(port), terminal.json("status")
        assert "Address already in use" in terminal.run("worker", code=1).stderr
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
    (worker,) = status["workers"]
    rate = pytest.approx(worker["photos_per_second"])
    assert status["devices"] == [{"device": "cpu", "workers": 1, "photos_per_second": rate}]
    log = terminal.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (failed,) = [line for line in lines if line["message"] == "a photo failed"]
    expected = {"job": job, "chunk": 1, "photo": failed["photo"], "kind": "not-an-image"}
    assert {name: failed[name] for name in FIELDS if name in failed} == expected
    assert "broken" not in log
    assert {"time", "level", "logger", "message"} <= failed.keys()
