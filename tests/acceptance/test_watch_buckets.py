"""`tagger watch` with buckets: new keys are tagged soon, the rest by scans, and one bucket's problem is its own."""

from pathlib import Path

import pytest
from support.buckets import Bucket
from support.command_line import environment_of
from support.commands import Terminal, draw
from support.watching import Tagged, outcomes, started

from tagger.cli.commands import watch
from tagger.cli.commands.watch import Watcher
from tagger.cli.session import open_session
from tagger.jobs.enqueue.scan import select_paths
from tagger.photos.paths import parse_path

SELDOM = {"scan_every_s": 3600.0, "poll_every_s": 3600.0}


@pytest.fixture
def terminal(tmp_path: Path, bucket: Bucket) -> Terminal:
    bucket.put("2026/01/first.jpg", draw(tmp_path / "first.jpg", 0))
    return Terminal(tmp_path / "terminal", bucket.environment())


def put(terminal: Terminal, bucket: Bucket, key: str, label: int = 1, seed: int = 1) -> None:
    bucket.put(key, draw(terminal.folder / "drawn" / Path(key).name, label, seed=seed))


@pytest.mark.slow
def test_a_bucket_and_a_folder_are_watched_together(terminal: Terminal, bucket: Bucket) -> None:
    photos = terminal.folder / "photos"
    draw(photos / "a.jpg", 0, seed=3)
    with started(terminal, "watch", "photos", bucket.address, "--poll-every", "1"):
        terminal.wait_until(lambda: outcomes(terminal) == {"first.jpg": "tagged", "a.jpg": "tagged"})
        put(terminal, bucket, "2026/02/second.jpg")
        draw(photos / "b.jpg", 1, seed=2)
        terminal.wait_until(lambda: {"second.jpg", "b.jpg"} <= set(outcomes(terminal)))
    assert "watching 1 folder and 1 bucket; press Ctrl-C to stop" in terminal.log.read_text()
    assert sorted(job.total for job in terminal.jobs()) == [1, 1, 1, 1]


def test_polls_find_the_end_of_a_bucket_and_scans_the_rest(
    terminal: Terminal, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.run("tag", bucket.address)
    tagged = Tagged()
    with environment_of(terminal.environment):
        selection = select_paths([parse_path(bucket.address)])
        watcher = Watcher(open_session(), selection, tagged.tag, scan_every_s=3600.0, poll_every_s=0.0)
        watcher.step()
        put(terminal, bucket, "2025/12/before.jpg")
        put(terminal, bucket, "2026/02/behind.jpg")
        watcher.step()
        assert tagged == [{"behind.jpg"}]
        watcher.step()
        assert tagged == [{"behind.jpg"}]
        bucket.delete("2026/01/first.jpg")
        Watcher(open_session(), selection, tagged.tag, **SELDOM).step()
    assert tagged == [{"behind.jpg"}, {"before.jpg", "behind.jpg"}]
    assert "1 photo is gone" in capsys.readouterr().err
    assert outcomes(terminal) == {}


@pytest.mark.slow
def test_a_bucket_that_refuses_is_waited_for_and_stops_no_folder(
    terminal: Terminal, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "RETRY_S", 0.0)
    monkeypatch.setattr(watch, "SCAN_EVERY_S", 0.0)
    monkeypatch.setattr(watch, "SCAN_PAUSES", 0)
    terminal.environment["TAGGER_SETTLE_S"] = "0"
    photos = terminal.folder / "photos"
    draw(photos / "a.jpg", 0, seed=3)
    terminal.run("tag", bucket.address)
    tagged = Tagged()
    with environment_of(terminal.environment):
        selection = select_paths([photos, parse_path(bucket.address)])
        with bucket.proxy.refusing():
            watcher = Watcher(open_session(), selection, tagged.tag, **SELDOM)
            watcher.step()
            draw(photos / "b.jpg", 1, seed=2)
            watcher.step()
            watcher.step()
        assert tagged == [{"a.jpg"}, {"a.jpg", "b.jpg"}, {"a.jpg", "b.jpg"}]
        put(terminal, bucket, "2026/02/second.jpg")
        Watcher(open_session(), selection, tagged.tag, **SELDOM).step()
    assert {"second.jpg"} in tagged
    assert capsys.readouterr().err.count("the server refuses access") == 1
    assert set(outcomes(terminal)) == {"first.jpg"}


def test_metadata_that_cannot_be_written_ends_the_command(terminal: Terminal, bucket: Bucket) -> None:
    refused = terminal.run("watch", bucket.address, "--write", "embed", code=1)
    assert "is in a bucket" in refused.stderr


@pytest.mark.slow
def test_up_watches_prefixes_only(terminal: Terminal, bucket: Bucket) -> None:
    refused = terminal.run_process("up", f"{bucket.address}/2026/01/first.jpg", "--watch", code=2)
    assert "name its prefix" in refused.stderr


@pytest.mark.slow
def test_a_database_that_is_deleted_ends_the_command(terminal: Terminal) -> None:
    draw(terminal.folder / "photos" / "a.jpg", 0)
    process = terminal.start("watch", "photos")
    try:
        terminal.wait_until(lambda: outcomes(terminal) == {"a.jpg": "tagged"})
        for file in terminal.data.glob("tagger.sqlite*"):
            file.unlink()
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
    assert "was deleted, moved or replaced" in terminal.log.read_text()
    assert "Traceback" not in terminal.log.read_text()
    assert not list(terminal.data.glob("tagger.sqlite*"))
