"""`tagger watch` and `tagger up --watch`: what is new is tagged soon, and what is deleted is gone."""

import pytest
from support.command_line import environment_of
from support.commands import Terminal, draw
from support.watching import Tagged, outcomes, started

from tagger.cli.commands import tag as watch
from tagger.cli.commands.tag import Watcher
from tagger.cli.program import open_session
from tagger.jobs.enqueue.selection import select_paths
from tagger.photos.paths import parse_path


def test_photos_are_tagged_once_as_they_come_and_gone_as_they_are_deleted(terminal):
    """What is written into a photo is no reason to tag it again."""
    photos = terminal.folder / "photos"
    first = draw(photos / "first.jpg", 0)
    draw(terminal.folder / "card" / "day" / "moved.jpg", 1, seed=2)
    with started(terminal, "watch", "photos", "--write", "embed"):
        terminal.wait_until(lambda: outcomes(terminal) == {"first.jpg": "tagged"})
        draw(photos / "new" / "second.jpg", 1, seed=1)
        draw(photos / "new" / ".third.jpg.part.jpg", None)
        (terminal.folder / "card").rename(photos / "card")
        terminal.wait_until(lambda: set(outcomes(terminal)) == {"first.jpg", "second.jpg", "moved.jpg"})
        first.unlink()
        terminal.wait_until(lambda: "first.jpg" not in outcomes(terminal))
    assert "watching 1 folder; press Ctrl-C to stop" in terminal.log.read_text()
    assert "1 photo is gone" in terminal.log.read_text()
    assert all(job.is_over for job in terminal.jobs())
    assert sum(job.total for job in terminal.jobs() if job.parent is None) == 3


def test_a_folder_that_is_away_at_the_start_is_waited_for_and_said_once(terminal, monkeypatch, capsys):
    photos = terminal.folder / "photos"
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            photos.mkdir()

    monkeypatch.setattr(watch.time, "sleep", pause)
    selection = watch.wait_for_sources(lambda: select_paths([photos]))
    assert selection.folders == (photos,)
    assert len(pauses) == 3
    assert capsys.readouterr().err.count("Waiting for it") == 1


def test_watch_takes_folders_only(terminal):
    draw(terminal.folder / "a.jpg")
    assert "name the folder or prefix that it is in" in terminal.run("watch", "a.jpg", code=2).stderr
    refused = terminal.run("up", "a.jpg", "--watch", code=2)
    assert "a single photo cannot be watched" in refused.stderr
    refused = terminal.run("up", ".", "--watch", "--once", code=2)
    assert "cannot be combined with --watch or --port" in refused.stderr


@pytest.fixture
def bucket_terminal(tmp_path, bucket) -> Terminal:
    bucket.put("2026/01/first.jpg", draw(tmp_path / "first.jpg", 0))
    return Terminal(tmp_path / "terminal", bucket.environment())


def test_scans_find_what_is_new_and_gone_in_a_bucket(bucket_terminal, bucket, capsys):
    bucket_terminal.run("tag", bucket.address)
    tagged = Tagged()
    with environment_of(bucket_terminal.environment):
        selection = select_paths([parse_path(bucket.address)])
        watcher = Watcher(open_session(), selection, tagged.tag, scan_every_s=0.0)
        watcher.step()
        assert tagged == []
        bucket.put("2026/02/behind.jpg", draw(bucket_terminal.folder / "behind.jpg", 1, seed=1))
        bucket.delete("2026/01/first.jpg")
        watcher.step()
    assert tagged == [{"behind.jpg"}]
    assert "1 photo is gone" in capsys.readouterr().err
    assert outcomes(bucket_terminal) == {}
    refused = bucket_terminal.run("watch", bucket.address, "--write", "embed", code=1)
    assert "is in a bucket" in refused.stderr  # waiting does not help


@pytest.mark.slow
def test_a_database_that_is_deleted_ends_the_command(bucket_terminal):
    draw(bucket_terminal.folder / "photos" / "a.jpg", 0)
    process = bucket_terminal.start("watch", "photos")
    try:
        bucket_terminal.wait_until(lambda: outcomes(bucket_terminal) == {"a.jpg": "tagged"})
        for file in bucket_terminal.data.glob("tagger.sqlite*"):
            file.unlink()
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
    assert "was deleted, moved or replaced" in bucket_terminal.log.read_text()
    assert "Traceback" not in bucket_terminal.log.read_text()
    assert not list(bucket_terminal.data.glob("tagger.sqlite*"))
