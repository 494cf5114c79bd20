"""`tagger tag` and `look`, typed as a user types them, without any server."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from support.artifacts import LABELS
from support.commands import Terminal, draw, draw_many


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "terminal")


def test_tagging_a_folder_prints_a_line_per_photo_and_ends_with_the_sums(terminal: Terminal) -> None:
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    draw(terminal.folder / "photos" / "2019" / "gate.jpg", 1)
    draw(terminal.folder / "photos" / "grey.jpg", None)
    done = terminal.run("tag", "photos")
    lines = sorted(line.partition("photos/")[2] for line in done.stdout.splitlines())
    assert lines[0].startswith("2019/gate.jpg: Brandenburg Gate ")
    assert lines[1].startswith("grey.jpg: unknown")
    assert lines[2].startswith("tower.jpg: Eiffel Tower ")
    assert "job 1 finished: 3 photos: 2 tagged, 1 unknown, 0 skipped" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("run: tagger teach NAME PHOTO…")


def test_files_that_are_left_out_are_counted_by_extension(terminal: Terminal) -> None:
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    for name in ("a.mp4", "b.MP4", "c.mov", "d.mov", "e.aae", "f.pdf", "g.pdf", "tower.jpg.xmp", ".h.mp4"):
        (terminal.folder / "photos" / name).touch()
    text = "left out by extension: 7 files (2 .mov, 2 .mp4, 2 .pdf, 1 more)"
    for command in (("tag", "--dry-run"), ("tag",), ("enqueue",), ("backfill", "all", "--scan")):
        done = terminal.run(*command, "photos")
        assert text in done.stderr.splitlines()
    assert terminal.json("tag", "photos")["other_files"] == 7
    assert "  left out by extension: 7 files\n" in terminal.run("job", "show", 1).stdout
    assert "extension" not in terminal.run("tag", "photos/tower.jpg").stderr


def test_tagging_again_skips_tagged_photos(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 5)
    terminal.run("tag", "photos")
    again = terminal.json("tag", "photos")
    assert (again["total"], again["skipped"], again["tagged"]) == (5, 5, 0)
    forced = terminal.json("tag", "photos", "--again")
    assert (forced["tagged"], forced["unknown"], forced["skipped"]) == (4, 1, 0)


def test_the_summary_names_how_to_see_correct_and_write_the_tags(terminal: Terminal) -> None:
    folder = terminal.folder / "my photos"
    draw(folder / "tower.jpg", 0)
    draw(terminal.folder / "elsewhere" / "tower.jpg", 0, seed=1)
    terminal.run("tag", "elsewhere")
    done = terminal.run("tag", "my photos")
    query, correct, write = (
        shlex.split(line.partition("run: tagger ")[2]) for line in done.stderr.splitlines()[-3:]
    )
    assert [photo["path"] for photo in terminal.json(*query)] == [str(folder / "tower.jpg")]
    assert correct[:3] == ["reject", "PHOTO", "LANDMARK,"]
    assert "1 photo: 1 written" in terminal.run(*write).stderr
    assert terminal.run("-q", "tag", "my photos", "--again").stderr == ""
    assert "run: " not in terminal.run("tag", "my photos", "--again", "--json").stderr
    repeated = terminal.run("tag", "my photos").stderr
    assert "run: " not in repeated  # nothing new is tagged
    assert "skipped: this model has classified these photos already; to include them, add --again" in repeated


def test_broken_files_fail_alone_with_a_kind_and_code_3(terminal: Terminal) -> None:
    folder = terminal.folder / "photos"
    draw(folder / "good.jpg", 0)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "folder.jpg").mkdir()
    draw(folder / "folder.jpg" / "inside.jpg", 1)
    (folder / "loop").symlink_to(folder)
    draw(folder / "whole.jpg", 2, size=(900, 700))
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:300])
    done = terminal.run("tag", "photos", code=3)
    assert "good.jpg: Eiffel Tower" in done.stdout
    assert "folder.jpg/inside.jpg: Brandenburg Gate" in done.stdout
    failing = {Path(each["path"]).name: each for each in terminal.json("job", "failures")}
    kinds = {name: each["kind"] for name, each in failing.items()}
    assert kinds == {
        "empty.jpg": "empty",
        "text.jpg": "not-an-image",
        "link.jpg": "gone",
        "loop.jpg": "unreadable",
        "cut.jpg": kinds["cut.jpg"],
    }
    assert kinds["cut.jpg"] in {"truncated", "corrupt"}
    assert all(each["text"] and each["attempts"] == 1 and each["job"] == 1 for each in failing.values())
    job = terminal.json("job", "show", "1")
    assert (job["total"], job["tagged"], job["failed"]) == (8, 3, 5)


@pytest.mark.slow
def test_a_decompression_bomb_fails_without_its_pixels_being_allocated(terminal: Terminal) -> None:
    folder = terminal.folder / "photos"
    folder.mkdir()
    Image.new("1", (30000, 30000)).save(folder / "bomb.png")
    script = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024); sys.exit(done.returncode)"
    )
    tagger = Path(sys.executable).parent / "tagger"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tagger), "tag", "photos"],
        cwd=folder.parent,
        env=terminal.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    (failed,) = terminal.json("job", "failures")
    assert failed["kind"] == "too-many-pixels"
    assert "raise TAGGER_MAX_PIXELS" in failed["text"]
    assert (
        int(done.stdout.splitlines()[-1]) < 1200
    )  # MiB: torch itself needs some 400, the pixels would be 2,700


def test_names_with_newlines_and_bytes_that_are_no_text_are_tagged_and_shown_harmless(
    terminal: Terminal,
) -> None:
    folder = terminal.folder / "photos"
    draw(folder / "two\nlines.jpg", 0)
    draw(folder / "plain.jpg", 1).rename(folder / os.fsdecode(b"caf\xe9.jpg"))
    done = terminal.run("tag", "photos")
    assert len(done.stdout.splitlines()) == 2
    assert "two\\nlines.jpg: Eiffel Tower" in done.stdout
    found = {os.fsencode(Path(each["path"]).name) for each in terminal.json("query")}
    assert found == {b"two\nlines.jpg", b"caf\xe9.jpg"}
    assert terminal.json("tag", "photos")["skipped"] == 2


def test_a_photo_with_a_time_no_database_holds_is_tagged_like_any_other(terminal: Terminal) -> None:
    photo = draw(terminal.folder / "photos" / "a.jpg", 0)
    os.utime(photo, (2**34, 2**34))  # in the year 2514
    assert terminal.json("tag", "photos")["tagged"] == 1
    assert terminal.json("tag", "photos")["skipped"] == 1


def test_an_unmounted_root_is_refused_and_marks_nothing_as_gone(terminal: Terminal) -> None:
    folder = terminal.folder / "photos"
    draw_many(folder, 3)
    terminal.run("tag", "photos")
    folder.rename(terminal.folder / "elsewhere")
    folder.mkdir()
    refused = terminal.run("tag", "photos", code=1)
    assert "the database has 3 photos in it" in refused.stderr
    assert "no photo was marked as gone" in refused.stderr
    assert len(terminal.json("query", "--any-rank")) == 3


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["tag", "no-such-folder"], 1, "no file or folder at no-such-folder"),
        (["tag", "photos", "--model", "no-such-model"], 1, "no-such-model"),
        (["tag", "photos", "--model", "photos/text.pt"], 1, "cannot be used"),
        (["tag", "photos", "--device", "abacus"], 1, "device"),
        (["tag"], 2, "PATH"),
        (["tag", "photos", "--top-k", "0"], 2, "--top-k"),
        (["status", "99"], 1, "no job 99"),
        (["show", "photos/a.jpg"], 1, "has no photo at"),
        (["forget", "photos"], 1, "has no photo at"),
        (["predict", "photos/nothing.jpg"], 3, "gone"),
    ],
)
def test_invalid_input_gets_one_line_with_a_remedy(
    terminal: Terminal, words: list[str], code: int, message: str
) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    (terminal.folder / "photos" / "text.pt").write_text("no model")
    done = terminal.run(*words, code=code)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.strip().splitlines()) == 1


def test_settings_come_from_option_then_environment_then_file(terminal: Terminal) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    (terminal.folder / "tagger.toml").write_text("top_k = 1\n")
    ignored = terminal.run("predict", "photos/a.jpg", "--json")
    assert len(json.loads(ignored.stdout)[0]["tags"]) == len(LABELS)
    assert "export TAGGER_CONFIG=./tagger.toml" in ignored.stderr
    terminal.environment["TAGGER_CONFIG"] = "./tagger.toml"
    assert len(terminal.json("predict", "photos/a.jpg")[0]["tags"]) == 1
    terminal.environment["TAGGER_TOP_K"] = "2"
    assert len(terminal.json("predict", "photos/a.jpg")[0]["tags"]) == 2
    assert len(terminal.json("predict", "--top-k", "3", "photos/a.jpg")[0]["tags"]) == 3
    (terminal.folder / "tagger.toml").write_text("topk = 1\n")
    wrong = terminal.run("predict", "photos/a.jpg", code=1)
    assert "topk" in wrong.stderr


def test_look_shows_the_same_as_tag_stores_and_stores_nothing(terminal: Terminal) -> None:
    photo = draw(terminal.folder / "photos" / "a.jpg", 2)
    looked = terminal.json("predict", "photos/a.jpg")[0]
    piped = json.loads(terminal.run("predict", "-", "--json", stdin=photo.read_bytes()).stdout)[0]
    assert piped["tags"] == looked["tags"]
    assert terminal.json("query", "--any-rank") == []
    terminal.run("tag", "photos")
    stored = terminal.json("show", "photos/a.jpg")["tags"]
    compared = ("landmark", "rank", "accepted", "score")
    assert [[tag[key] for key in compared] for tag in stored] == [
        [pytest.approx(tag[key]) if key == "score" else tag[key] for key in compared]
        for tag in looked["tags"]
    ]


def test_a_threshold_of_0_accepts_every_tag(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 5)
    done = terminal.run("tag", "photos", "--threshold", "0", "--top-k", "2")
    assert "5 photos: 5 tagged, 0 unknown" in done.stderr
    photos = terminal.json("query")
    assert [len(photo["tags"]) for photo in photos] == [2] * 5
    assert all(tag["accepted"] for photo in photos for tag in photo["tags"])
    predicted = terminal.json("predict", "photos/00/00000.jpg", "--threshold", "0")
    assert all(each["accepted"] for each in predicted[0]["tags"])


def test_dry_run_counts_and_records_nothing(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 4)
    assert terminal.run("tag", "photos", "--dry-run").stdout.startswith("4 photos would be classified")
    assert terminal.run("enqueue", "photos", "--dry-run").stdout.startswith("4 photos would be classified")
    assert terminal.json("status")["jobs"] == []


def test_an_interrupted_tag_loses_nothing_and_continues(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 160)
    draw(terminal.folder / "photos" / "00" / "00001-hangs.jpg", seed=1000)
    terminal.environment |= {"TAGGER_BATCH_SIZE": "4", "TAGGER_THREADS": "2"}
    terminal.inject(slow_pass_s="0.05", hang_on_open="hangs")
    process = terminal.start("tag", "photos")
    terminal.wait_until(lambda: "photos/" in terminal.log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130  # it takes 2 s
    assert "no work is lost" in terminal.log.read_text()
    job = terminal.json("job", "show", "1")
    assert job["state"] == "cancelled"
    assert 0 < job["cancelled"] < 161
    assert job["cancelled"] + job["tagged"] + job["unknown"] == 161
    rest = terminal.json("tag", "photos")
    assert rest["skipped"] == job["tagged"] + job["unknown"]
    assert rest["skipped"] + rest["tagged"] + rest["unknown"] == 161


def test_forget_takes_photos_out_and_leaves_the_files(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 6)
    draw(terminal.folder / "photos" / "private" / "a.jpg", 1)
    terminal.run("tag", "photos")
    assert "1 photo would be forgotten" in terminal.run("forget", "photos/private", "--dry-run").stdout
    assert "1 photo forgotten" in terminal.run("forget", "photos/private").stdout
    assert (terminal.folder / "photos" / "private" / "a.jpg").exists()
    assert len(terminal.json("query", "--any-rank")) == 6
    assert terminal.json("forget", "photos")["forgotten"] == 6
    assert terminal.json("query", "--any-rank") == []


@pytest.mark.slow
def test_progress_shows_rate_and_eta_on_a_terminal_only(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 30)
    quiet = terminal.run("tag", "photos", "--json")
    assert "job 1 finished: 30 photos" in quiet.stderr
    assert "\r" not in quiet.stderr
    assert "\x1b" not in quiet.stderr
    shown = _on_a_terminal(terminal, "tag", "photos", "--again", "--json")
    assert "tagging" in shown
    assert "photos/s" in shown


def _on_a_terminal(terminal: Terminal, *words: str) -> str:
    """What a command shows on a pseudo-terminal."""
    import pty

    parent, child = pty.openpty()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "tagger"), *words],
        cwd=terminal.folder,
        env=terminal.environment | {"TERM": "xterm"},
        stdin=child,
        stdout=child,
        stderr=child,
        close_fds=True,
    )
    os.close(child)
    shown = b""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            data = os.read(parent, 65536)
        except OSError:  # the terminal is closed: the command has ended
            break
        if not data:
            break
        shown += data
    os.close(parent)
    assert process.wait(30) == 0, shown
    return shown.decode(errors="replace")
