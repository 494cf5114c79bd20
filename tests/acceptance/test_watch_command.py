"""`tagger watch` and `tagger up --watch`: what is copied into a folder is tagged, and what is deleted is gone."""

import pytest
from support.command_line import environment_of
from support.commands import Terminal, draw
from support.watching import Tagged, outcomes, started

from tagger.cli.commands import watch
from tagger.cli.commands.watch import Watcher
from tagger.cli.session import open_session
from tagger.jobs.enqueue.scan import select_paths

HOURLY = {"scan_every_s": 3600.0, "poll_every_s": 60.0}


def test_photos_are_tagged_once_as_they_come_and_gone_as_they_are_deleted(terminal: Terminal) -> None:
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


def test_a_folder_that_is_away_at_the_start_is_waited_for_and_said_once(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = terminal.folder / "photos"
    assert "no file or folder" in terminal.run("watch", "photos", "--no-wait", code=1).stderr
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


@pytest.mark.slow
def test_a_disk_that_is_unmounted_is_waited_for_and_said_once(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = terminal.folder / "photos"
    draw(photos / "a.jpg", 0)
    terminal.run("tag", "photos")
    monkeypatch.setattr(watch, "RETRY_S", 0.0)
    monkeypatch.setattr(watch, "SCAN_EVERY_S", 0.0)
    monkeypatch.setattr(watch, "SCAN_PAUSES", 0)
    tagged = Tagged()

    with environment_of(terminal.environment):
        watcher = Watcher(open_session(), select_paths([photos]), tagged.tag, **HOURLY)
        watcher.step()
        assert tagged == []
        photos.rename(terminal.folder / "disk")
        photos.mkdir()
        for _ in range(10):
            watcher.step()
        photos.rmdir()
        (terminal.folder / "disk").rename(photos)
        draw(photos / "b.jpg", 1, seed=1)
        terminal.wait_until(lambda: watcher.step() or tagged)
    assert tagged == [{"b.jpg"}]
    assert capsys.readouterr().err.count("no photo was marked as gone") == 1
    assert set(outcomes(terminal)) == {"a.jpg"}


def test_watch_takes_folders_only(terminal: Terminal) -> None:
    draw(terminal.folder / "a.jpg")
    assert "name the folder or prefix that it is in" in terminal.run("watch", "a.jpg", code=2).stderr
    refused = terminal.run("up", "a.jpg", "--watch", code=2)
    assert "it needs folders to watch" in refused.stderr
    refused = terminal.run("up", ".", "--watch", "--once", code=2)
    assert "nothing is watched" in refused.stderr
