"""`tagger metadata …` and `--write` as a person types them: what is said, what is written, and how it is taken back."""

import os
from pathlib import Path

import pytest
from commands import Terminal, draw, draw_many
from PIL import Image
from said import Typed
from servers import RedisServer

NOT_OUTCOMES = ("tagged", "unknown", "skipped", "failed", "cancelled", "queued", "running")
OUTCOMES = (*NOT_OUTCOMES, "written", "unchanged", "refused")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo of each kind that matters: two landmarks, one that cannot be embedded, one of nothing that is known."""
    folder = tmp_path / "photos"
    draw(folder / "eiffel.jpg", 0, seed=1)
    draw(folder / "berlin" / "gate.jpg", 1, seed=2)
    draw(folder / "moving.gif", 1, seed=3)
    draw(folder / "grey.jpg", None, seed=4)
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file below the folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def adds_up(job: dict[str, int]) -> bool:
    return sum(job[outcome] for outcome in OUTCOMES) == job["total"]


def test_tags_go_into_sidecars_and_the_photos_stay_as_they_are(person: Typed, photos: Path) -> None:
    before = state(photos)
    said = person("tag", photos, "--write", "sidecar")
    assert said.code == 0
    assert f"{photos / 'eiffel.jpg'}: Eiffel Tower " in said.text
    assert f"{photos / 'eiffel.jpg'}: written: Eiffel Tower → eiffel.jpg.xmp" in said.text
    assert "job 1 finished: 4 photos: 3 tagged, 1 unknown, 0 skipped" in said.err
    assert "job 2 finished, metadata written: 3 photos: 3 written, 0 unchanged" in said.err
    after = state(photos)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"eiffel.jpg.xmp", "berlin/gate.jpg.xmp", "moving.gif.xmp"}
    again = person("tag", photos, "--write", "sidecar")
    assert "3 photos: 0 written, 3 unchanged" in again.err
    assert state(photos) == after


def test_tags_go_into_the_photos_and_what_cannot_be_embedded_gets_a_sidecar(
    person: Typed, photos: Path
) -> None:
    before = state(photos)
    said = person("tag", photos, "--write", "embed", "--gps", "--description")
    assert said.code == 0  # whatever was refused has its sidecar
    assert "written: Eiffel Tower → the photo itself" in said.text
    assert "moving.gif: refused: Metadata is embedded in JPEG, PNG, WebP and TIFF files only." in said.text
    assert "Brandenburg Gate → moving.gif.xmp" in said.text
    assert "3 photos: 2 written, 0 unchanged, 1 refused" in said.err
    assert "tagger failures 2 lists the photos that were left as they are, and why" in said.err
    after = state(photos)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"eiffel.jpg", "berlin/gate.jpg", "moving.gif.xmp"}
    assert {name: time for name, (_, time) in after.items() if name in before} == {
        name: time for name, (_, time) in before.items()
    }
    assert b"landmark-tagger" in after["eiffel.jpg"][0]
    with Image.open(photos / "eiffel.jpg") as image:
        assert image.getexif().get_ifd(0x8825)[1] == "N"


def test_photos_that_could_not_be_tagged_are_said_though_all_tags_were_written(
    person: Typed, photos: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    said = person("tag", photos, "--write", "sidecar")
    assert said.code == 3
    assert "3 photos: 3 written" in said.err
    assert not (photos / "broken.jpg.xmp").exists()
    refused = person("retry", 2)
    assert refused.code == 1
    assert "`tagger metadata write` finds by itself what is not written yet" in refused.err


def test_json_stays_one_document_though_two_jobs_ran(person: Typed, photos: Path) -> None:
    document = person("tag", photos, "--write", "sidecar", "--json").json
    assert (document["job"], document["write_job"], document["tagged"]) == (1, 2, 3)
    assert adds_up(document)
    jobs = person("status", "--json").json["jobs"]
    assert [(job["kind"], job["parent"], job["total"]) for job in jobs] == [("write", 1, 3), ("tag", None, 4)]
    assert all(adds_up(job) for job in jobs)
    written = person("metadata", "write", "--to", "sidecar", "--json").json
    assert (written["written"], written["unchanged"], written["total"]) == (0, 3, 3)
    assert adds_up(written)
    text = person("status", "1").text
    assert "its tags are written by job 2" in text
    assert "writes the tags of job 1" in person("status", "2").text


def test_a_dry_run_shows_the_difference_and_changes_nothing(person: Typed, photos: Path) -> None:
    person("tag", photos)
    before = state(photos)
    said = person("metadata", "write", "--to", "embed", "--dry-run")
    assert said.code == 0
    assert f"{photos / 'eiffel.jpg'}\n" in said.text
    assert "  + XMP:dc:subject: Eiffel Tower" in said.text
    assert "  + XMP:lr:hierarchicalSubject: Places|France|Paris|Eiffel Tower" in said.text
    assert "EXIF:GPS" not in said.text
    assert f"{photos / 'moving.gif'}: would get a sidecar instead: Metadata is embedded in" in said.text
    assert f"{photos / 'moving.gif.xmp'}, new\n" in said.text
    assert "2 photos would be changed, 1 new sidecar would be made; this was a dry run" in said.err
    assert "EXIF:GPSLatitude" in person("metadata", "write", "--to", "embed", "--gps", "--dry-run").text
    listed = person("metadata", "write", "--to", "embed", "--dry-run", "--json").json
    by_name = {Path(each["path"]).name: each for each in listed}
    assert by_name.keys() == {"eiffel.jpg", "gate.jpg", "moving.gif"}
    (file,) = by_name["eiffel.jpg"]["files"]
    assert {"change": "added", "field": "XMP:dc:subject", "value": "Eiffel Tower"} in file["changes"]
    assert by_name["moving.gif"]["refusal"].startswith("Metadata is embedded in JPEG")
    assert "3 photos would be looked at" not in person("tag", photos, "--write", "embed", "--dry-run").text
    assert state(photos) == before
    assert len(person("status", "--json").json["jobs"]) == 1
    person("metadata", "write", "--to", "embed")
    written = state(photos)
    undoing = person("metadata", "undo", "--all", "--dry-run")
    assert "  - XMP:dc:subject: Eiffel Tower" in undoing.text
    assert f"{photos / 'moving.gif.xmp'}, which would be removed" in undoing.text
    assert state(photos) == written
    assert (
        "no photo would be touched, 3 photos are right already; this was a dry run"
        in person("metadata", "write", "--to", "embed", "--dry-run").err
    )


def test_only_what_a_query_finds_is_written(person: Typed, photos: Path) -> None:
    person("tag", photos)
    before = state(photos)
    assert (
        "1 photo: 1 written" in person("metadata", "write", "--to", "embed", "--landmark", "Eiffel Tower").err
    )
    assert (
        "1 photo: 1 written" in person("metadata", "write", "--to", "embed", "--under", photos / "berlin").err
    )
    changed = {name for name, each in state(photos).items() if each != before.get(name)}
    assert changed == {"eiffel.jpg", "berlin/gate.jpg"}
    said = person("metadata", "write", "--to", "embed", "--landmark", "eifel")
    assert said.code == 1
    assert len(said.err.strip().splitlines()) == 1


def test_what_files_say_is_shown_side_by_side(person: Typed, photos: Path) -> None:
    eiffel = photos / "eiffel.jpg"
    person("tag", photos, "--write", "embed")
    assert "there is no sidecar" in person("metadata", "show", eiffel).err
    person("metadata", "write", "--to", "sidecar")
    said = person("metadata", "show", eiffel)
    assert "XMP:dc:subject\tEiffel Tower\tEiffel Tower" in said.text.splitlines()
    assert "eiffel.jpg: this program wrote Eiffel Tower (0." in said.text
    document = person("metadata", "show", eiffel, "--json").json
    assert document["photo"]["fields"]["XMP:dc:subject"] == ["Eiffel Tower"]
    assert document["photo"]["landmarks"][0]["slug"] == "eiffel-tower"
    assert [Path(each["path"]).name for each in document["sidecars"]] == ["eiffel.jpg.xmp"]
    alone = person("metadata", "show", f"{eiffel}.xmp", "--json").json
    assert alone["photo"] is None
    assert alone["sidecars"] == document["sidecars"]
    missing = person("metadata", "show", photos / "nothing.jpg")
    assert missing.code == 1
    assert "nothing.jpg" in missing.err


def test_what_is_known_of_a_photo_says_what_was_written_into_it(person: Typed, photos: Path) -> None:
    person("tag", photos, "--write", "embed")
    person("metadata", "write", "--to", "sidecar")
    shown = person("show", photos / "eiffel.jpg").text
    assert "into the photo" in shown
    assert "into eiffel.jpg.xmp" in shown
    written = person("show", photos / "eiffel.jpg", "--json").json["metadata"]
    assert [(each["file"], each["target"], each["job"]) for each in written] == [
        ("eiffel.jpg", "embed", 2),
        ("eiffel.jpg.xmp", "sidecar", 3),
    ]
    assert {tuple(each["landmarks"]) for each in written} == {("eiffel-tower",)}
    person("metadata", "undo", "--all")
    assert person("show", photos / "eiffel.jpg", "--json").json["metadata"] == []


def test_everything_is_taken_back_by_job_by_place_or_all_at_once(person: Typed, photos: Path) -> None:
    before = state(photos)
    person("tag", photos, "--write", "embed")
    written = state(photos)
    said = person("metadata", "undo", photos / "eiffel.jpg")
    assert said.code == 0
    assert "written: taken out of the photo itself" in said.text
    assert "metadata taken back: 1 photo: 1 written" in said.err
    assert state(photos) == {**written, "eiffel.jpg": before["eiffel.jpg"]}
    assert person("metadata", "undo", "--job", 2, "--json").json["written"] == 2
    assert state(photos) == before
    assert "nothing that was written is known there" in person("metadata", "undo", "--all").err
    person("metadata", "write", "--to", "sidecar")
    assert "2 photos: 2 written" in person("metadata", "undo", photos / "berlin", photos / "moving.gif").err
    assert state(photos).keys() - before.keys() == {"eiffel.jpg.xmp"}
    assert "1 photo: 1 written" in person("metadata", "undo", "--all").err
    assert state(photos) == before
    assert person("query", "--json").json[0]["tags"]  # the tags stay in the database
    unknown_job = person("metadata", "undo", "--job", 99)
    assert (unknown_job.code, "99" in unknown_job.err) == (1, True)


def test_files_of_a_forgotten_folder_are_taken_back_by_their_names(person: Typed, photos: Path) -> None:
    before = state(photos)
    person("tag", photos, "--write", "embed")
    person("forget", photos)
    files = [photos / name for name in ("eiffel.jpg", "berlin/gate.jpg", "moving.gif")]
    said = person("metadata", "undo", *files)
    assert said.code == 0
    assert f"{files[0]}: taken out of the photo itself" in said.text
    assert state(photos) == before


@pytest.mark.parametrize(
    "words",
    [
        ["metadata", "undo"],
        ["metadata", "undo", "--all", "photos"],
        ["metadata", "undo", "--all", "--job", "1"],
        ["metadata", "undo", "--all", "--wait"],
        ["metadata", "undo", "--all", "--enqueue", "--dry-run"],
        ["metadata", "write"],
        ["metadata", "write", "--to", "none"],
        ["metadata", "write", "--to", "exif"],
        ["metadata", "write", "--to", "sidecar", "--wait"],
        ["metadata", "write", "--to", "sidecar", "--enqueue", "--dry-run"],
        ["metadata", "write", "--to", "sidecar", "--taken-after", "May"],
        ["metadata", "write", "--to", "sidecar", "--radius-km", "2"],
        ["metadata", "write", "--to", "sidecar", "--enqueue", "--priority", "soon"],
        ["tag", "photos", "--write", "exif"],
        ["tag", "photos", "--gps"],
        ["tag", "photos", "--write", "none", "--description"],
        ["enqueue", "photos", "--write", "xmp"],
        ["backfill", "all", "--gps"],
        ["schedule", "add", "x", "--cron", "0 3 * * *", "all", "--write", "both"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_wrong_usage(person: Typed, photos: Path, words: list[str]) -> None:
    before = state(photos)
    said = person(*words)
    assert said.code == 2, said
    assert said.out == b""
    assert "Traceback" not in said.err
    assert state(photos) == before


def test_photos_that_could_not_be_written_are_listed_by_kind_and_some_failing_is_said(
    person: Typed, photos: Path
) -> None:
    person("tag", photos)
    (photos / "berlin" / "gate.jpg").unlink()
    os.link(photos / "eiffel.jpg", photos.parent / "second-name.jpg")
    said = person("metadata", "write", "--to", "embed")
    assert said.code == 3
    assert "1 failed" in said.err
    assert "2 refused" in said.err
    assert said.err.count("tagger failures") == 1
    job = person("status", "--json").json["jobs"][0]["job"]
    listed = person("failures", job, "--json").json
    assert {Path(each["path"]).name: each["kind"] for each in listed} == {
        "gate.jpg": "gone",
        "moving.gif": "format",
        "eiffel.jpg": "link",
    }
    assert all(each["text"] and each["attempts"] == 1 and each["job"] == job for each in listed)
    only = person("failures", job, "--kind", "format", "--kind", "gone", "--format", "paths").text
    assert {Path(line).name for line in only.splitlines()} == {"gate.jpg", "moving.gif"}
    assert "1 photo was left as it is" in person("failures", job, "--kind", "link").err
    wrong = person("failures", job, "--kind", "not-an-image")
    assert wrong.code == 2
    assert "read-only" in wrong.err
    # None of them fails to be tagged.
    assert person("failures", "--json").json == []
    # A sidecar takes what a photo must not.
    assert person("metadata", "write", "--to", "sidecar", "--under", photos / "eiffel.jpg").code == 0


def test_workers_write_what_jobs_backfills_and_schedules_ask_for(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})
    folder = terminal.folder / "photos"
    draw_many(folder, 40)
    before = state(folder)
    with terminal.workers(1):
        done = terminal.run("enqueue", "photos", "--write", "sidecar", "--wait")
        assert "job 1 finished: 40 photos: 32 tagged, 8 unknown" in done.stderr
        assert "job 2 finished, metadata written: 32 photos: 32 written" in done.stderr
        assert done.stdout == "1\n"
        after = state(folder)
        assert {name: after[name] for name in before} == before
        assert len(after) == 72

        done = terminal.run("backfill", "all", "--write", "embed", "--wait")
        assert "32 photos: 32 written" in done.stderr
        assert sum(state(folder)[name] != before[name] for name in before) == 32

        (folder / "00" / "00000.jpg").unlink()
        made = terminal.json(
            *("schedule", "add", "nightly", "--cron", "0 3 * * *", "all", "--write", "sidecar", "--gps")
        )
        assert made["options"]["write"] == {"to": "sidecar", "gps": True, "description": False}
        assert "sidecar" in terminal.run("schedule", "list").stdout
        run = terminal.json("schedule", "run-now", "nightly")
        terminal.wait_until(lambda: any(job.parent == run["job"] and job.is_over for job in terminal.jobs()))
        status = terminal.json("status")["jobs"]
        assert all(adds_up(job) for job in status)
        (chained,) = [job for job in status if job["parent"] == run["job"]]
        assert (chained["kind"], chained["state"]) == ("write", "finished")

        undone = terminal.run("metadata", "undo", "--all", "--enqueue", "--wait", code=0)
        assert "metadata taken back" in undone.stderr
    before.pop("00/00000.jpg")
    assert {name: data for name, data in state(folder).items() if name != "00/00000.jpg.xmp"} == before
