"""`tagger metadata …` and `--write` on the command line: output, files written, and undo."""

import os
from pathlib import Path

import pytest
from PIL import Image
from rig.containers import jpeg_segment
from rig.servers import RedisServer
from support.command_line import CommandRunner
from support.commands import Terminal, draw, draw_many

NOT_OUTCOMES = ("tagged", "unknown", "skipped", "failed", "cancelled", "queued", "running")
OUTCOMES = (*NOT_OUTCOMES, "written", "unchanged", "refused")
CREDENTIALS = jpeg_segment(0xEB, b"JP\0\x01\0\0\0\x01\0\0\0\x50jumb\0\0\0\x1ejumdc2pa")


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


def test_tags_go_into_sidecars_and_the_photos_stay_as_they_are(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    before = state(photos)
    output = tagger_with_redis("tag", photos, "--write", "sidecar")
    assert output.code == 0
    assert f"{photos / 'eiffel.jpg'}: Eiffel Tower " in output.text
    assert f"{photos / 'eiffel.jpg'}: written: Eiffel Tower → eiffel.jpg.xmp" in output.text
    assert "job 1 finished: 4 photos: 3 tagged, 1 unknown, 0 skipped" in output.err
    assert "job 2 finished, metadata written: 3 photos: 3 written, 0 unchanged" in output.err
    after = state(photos)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"eiffel.jpg.xmp", "berlin/gate.jpg.xmp", "moving.gif.xmp"}
    again = tagger_with_redis("tag", photos, "--write", "sidecar")
    assert "3 photos: 0 written, 3 unchanged" in again.err
    assert state(photos) == after


def test_tags_go_into_the_photos_and_what_cannot_be_embedded_gets_a_sidecar(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    before = state(photos)
    output = tagger_with_redis("tag", photos, "--write", "embed", "--gps", "--description")
    assert output.code == 0  # whatever was refused has its sidecar
    assert "written: Eiffel Tower → the photo itself" in output.text
    assert "moving.gif: refused: Metadata is embedded in JPEG, PNG, WebP and TIFF files only." in output.text
    assert "The tags were written to a sidecar: Brandenburg Gate → moving.gif.xmp" in output.text
    assert "3 photos: 2 written, 0 unchanged, 1 refused" in output.err
    assert "to list the photos that were not written, and why, run: tagger job failures 2" in output.err
    after = state(photos)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"eiffel.jpg", "berlin/gate.jpg", "moving.gif.xmp"}
    assert {name: time for name, (_, time) in after.items() if name in before} == {
        name: time for name, (_, time) in before.items()
    }
    assert b"landmark-tagger" in after["eiffel.jpg"][0]
    with Image.open(photos / "eiffel.jpg") as image:
        assert image.getexif().get_ifd(0x8825)[1] == "N"


def test_photos_that_failed_to_be_tagged_are_reported_after_a_full_write(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    output = tagger_with_redis("tag", photos, "--write", "sidecar")
    assert output.code == 3
    assert "3 photos: 3 written" in output.err
    assert not (photos / "broken.jpg.xmp").exists()
    refused = tagger_with_redis("job", "retry", 2)
    assert refused.code == 1
    assert "Run `tagger metadata write` again" in refused.err


def test_json_stays_one_document_though_two_jobs_ran(tagger_with_redis: CommandRunner, photos: Path) -> None:
    document = tagger_with_redis("tag", photos, "--write", "sidecar", "--json").json
    assert (document["job"], document["write_job"], document["tagged"]) == (1, 2, 3)
    assert adds_up(document)
    jobs = tagger_with_redis("status", "--json").json["jobs"]
    assert [(job["kind"], job["parent"], job["total"]) for job in jobs] == [("write", 1, 3), ("tag", None, 4)]
    assert all(adds_up(job) for job in jobs)
    written = tagger_with_redis("metadata", "write", "--to", "sidecar", "--json").json
    assert (written["written"], written["unchanged"], written["total"]) == (0, 3, 3)
    assert adds_up(written)
    text = tagger_with_redis("job", "show", "1").text
    assert "its tags are written by job 2" in text
    assert "writes the tags of job 1" in tagger_with_redis("job", "show", "2").text


@pytest.mark.parametrize("options", [(), ("--to", "nonsense")], ids=["missing", "unknown"])
def test_a_missing_or_unknown_target_names_the_choices(
    tagger: CommandRunner, options: tuple[str, ...]
) -> None:
    done = tagger("metadata", "write", *options)
    assert done.code == 2
    assert "'--to'" in done.err
    assert "sidecar" in done.err
    assert "embed" in done.err


def test_a_dry_run_shows_the_difference_and_changes_nothing(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    tagger_with_redis("tag", photos)
    before = state(photos)
    output = tagger_with_redis("metadata", "write", "--to", "embed", "--dry-run")
    assert output.code == 0
    assert f"{photos / 'eiffel.jpg'}\n" in output.text
    assert "  + XMP:dc:subject: Eiffel Tower" in output.text
    assert "  + XMP:lr:hierarchicalSubject: Places|France|Paris|Eiffel Tower" in output.text
    assert "EXIF:GPS" not in output.text
    assert (
        f"{photos / 'moving.gif'}: would get a sidecar file instead: Metadata is embedded in" in output.text
    )
    assert f"{photos / 'moving.gif.xmp'} (new)\n" in output.text
    assert "2 photos would be changed, 1 new sidecar would be created; this was a dry run" in output.err
    assert (
        "EXIF:GPSLatitude"
        in tagger_with_redis("metadata", "write", "--to", "embed", "--gps", "--dry-run").text
    )
    listed = tagger_with_redis("metadata", "write", "--to", "embed", "--dry-run", "--json").json
    by_name = {Path(each["path"]).name: each for each in listed}
    assert by_name.keys() == {"eiffel.jpg", "gate.jpg", "moving.gif"}
    (file,) = by_name["eiffel.jpg"]["files"]
    assert {"change": "added", "field": "XMP:dc:subject", "value": "Eiffel Tower"} in file["changes"]
    assert by_name["moving.gif"]["refusal"].startswith("Metadata is embedded in JPEG")
    assert (
        "3 photos would be looked at"
        not in tagger_with_redis("tag", photos, "--write", "embed", "--dry-run").text
    )
    assert state(photos) == before
    assert len(tagger_with_redis("status", "--json").json["jobs"]) == 1
    tagger_with_redis("metadata", "write", "--to", "embed")
    written = state(photos)
    undoing = tagger_with_redis("metadata", "undo", "--all", "--dry-run")
    assert "  - XMP:dc:subject: Eiffel Tower" in undoing.text
    assert f"{photos / 'moving.gif.xmp'} (removed)" in undoing.text
    assert state(photos) == written
    assert (
        "no photo would be changed, 3 photos up to date; this was a dry run"
        in tagger_with_redis("metadata", "write", "--to", "embed", "--dry-run").err
    )


def test_only_what_a_query_finds_is_written(tagger_with_redis: CommandRunner, photos: Path) -> None:
    tagger_with_redis("tag", photos)
    before = state(photos)
    assert (
        "1 photo: 1 written"
        in tagger_with_redis("metadata", "write", "--to", "embed", "--landmark", "Eiffel Tower").err
    )
    assert (
        "1 photo: 1 written"
        in tagger_with_redis("metadata", "write", "--to", "embed", "--under", photos / "berlin").err
    )
    changed = {name for name, each in state(photos).items() if each != before.get(name)}
    assert changed == {"eiffel.jpg", "berlin/gate.jpg"}
    output = tagger_with_redis("metadata", "write", "--to", "embed", "--landmark", "eifel")
    assert output.code == 1
    assert len(output.err.strip().splitlines()) == 1


def test_metadata_of_photo_and_sidecar_is_shown_side_by_side(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    eiffel = photos / "eiffel.jpg"
    tagger_with_redis("tag", photos, "--write", "embed")
    assert "there is no sidecar file" in tagger_with_redis("metadata", "show", eiffel).err
    tagger_with_redis("metadata", "write", "--to", "sidecar")
    output = tagger_with_redis("metadata", "show", eiffel)
    assert "XMP:dc:subject\tEiffel Tower\tEiffel Tower" in output.text.splitlines()
    assert "eiffel.jpg: tagger wrote Eiffel Tower (0." in output.text
    document = tagger_with_redis("metadata", "show", eiffel, "--json").json
    assert document["photo"]["fields"]["XMP:dc:subject"] == ["Eiffel Tower"]
    assert document["photo"]["landmarks"][0]["slug"] == "eiffel-tower"
    assert [Path(each["path"]).name for each in document["sidecars"]] == ["eiffel.jpg.xmp"]
    alone = tagger_with_redis("metadata", "show", f"{eiffel}.xmp", "--json").json
    assert alone["photo"] is None
    assert alone["sidecars"] == document["sidecars"]
    missing = tagger_with_redis("metadata", "show", photos / "nothing.jpg")
    assert missing.code == 1
    assert "nothing.jpg" in missing.err


def test_show_lists_the_metadata_written_to_a_photo(tagger_with_redis: CommandRunner, photos: Path) -> None:
    tagger_with_redis("tag", photos, "--write", "embed")
    tagger_with_redis("metadata", "write", "--to", "sidecar")
    shown = tagger_with_redis("show", photos / "eiffel.jpg").text
    assert "to the photo" in shown
    assert "to eiffel.jpg.xmp" in shown
    written = tagger_with_redis("show", photos / "eiffel.jpg", "--json").json["metadata"]
    assert [(each["file"], each["target"], each["job"]) for each in written] == [
        ("eiffel.jpg", "embed", 2),
        ("eiffel.jpg.xmp", "sidecar", 3),
    ]
    assert {tuple(each["landmarks"]) for each in written} == {("eiffel-tower",)}
    tagger_with_redis("metadata", "undo", "--all")
    assert tagger_with_redis("show", photos / "eiffel.jpg", "--json").json["metadata"] == []


def test_writes_are_undone_by_job_by_folder_or_all_at_once(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    before = state(photos)
    tagger_with_redis("tag", photos, "--write", "embed")
    written = state(photos)
    output = tagger_with_redis("metadata", "undo", photos / "eiffel.jpg")
    assert output.code == 0
    assert "written: removed from the photo itself" in output.text
    assert "metadata undone: 1 photo: 1 undone" in output.err
    assert state(photos) == {**written, "eiffel.jpg": before["eiffel.jpg"]}
    assert tagger_with_redis("metadata", "undo", "--job", 2, "--json").json["written"] == 2
    assert state(photos) == before
    assert "the database has no written metadata there" in tagger_with_redis("metadata", "undo", "--all").err
    tagger_with_redis("metadata", "write", "--to", "sidecar")
    assert (
        "2 photos: 2 undone"
        in tagger_with_redis("metadata", "undo", photos / "berlin", photos / "moving.gif").err
    )
    assert state(photos).keys() - before.keys() == {"eiffel.jpg.xmp"}
    assert "1 photo: 1 undone" in tagger_with_redis("metadata", "undo", "--all").err
    assert state(photos) == before
    assert tagger_with_redis("query", "--json").json[0]["tags"]  # the tags stay in the database
    unknown_job = tagger_with_redis("metadata", "undo", "--job", 99)
    assert (unknown_job.code, "99" in unknown_job.err) == (1, True)


def test_undo_names_the_photos_whose_sidecars_other_programs_have_edited(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    tagger_with_redis("tag", photos, "--write", "sidecar")
    sidecar = photos / "moving.gif.xmp"
    sidecar.write_bytes(sidecar.read_bytes().replace(b"<rdf:li>", b"<rdf:li>mine</rdf:li><rdf:li>", 1))
    output = tagger_with_redis("metadata", "undo", "--all")
    assert "3 undone" in output.err
    assert "edited: 1 photo whose file or sidecar another program has changed" in output.err
    assert f"the rest stays: {photos / 'moving.gif'}" in output.err
    assert "tagger job failures 3 --kind edited" in output.err
    assert {path.name for path in photos.rglob("*.xmp")} == {sidecar.name}
    assert "edited: 1 photo" in tagger_with_redis("job", "show", "3").text
    assert tagger_with_redis("job", "show", "3", "--json").json["edited"] == [str(photos / "moving.gif")]
    (listed,) = tagger_with_redis("job", "failures", "3", "--kind", "edited", "--json").json
    assert (listed["kind"], listed["path"]) == ("edited", str(photos / "moving.gif"))
    assert "moving.gif.xmp" in listed["text"]
    assert tagger_with_redis("job", "failures", "3").text == ""
    assert "edited" not in tagger_with_redis("job", "show", "2", "--json").json


def test_what_makes_no_sense_is_wrong_usage(tagger_with_redis: CommandRunner, photos: Path) -> None:
    before = state(photos)
    for words in (
        ["metadata", "undo"],
        ["metadata", "undo", "--all", "photos"],
        ["metadata", "undo", "--all", "--job", "1"],
        ["metadata", "undo", "--all", "--wait"],
        ["metadata", "undo", "--all", "--enqueue", "--dry-run"],
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
    ):
        output = tagger_with_redis(*words)
        assert (output.code, output.out) == (2, b""), words
        assert "Traceback" not in output.err, words
    assert state(photos) == before


def test_summary_says_how_many_photos_are_signed_and_why_they_are_refused(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    photo = photos / "eiffel.jpg"
    jpeg = photo.read_bytes()
    photo.write_bytes(jpeg[:2] + CREDENTIALS + jpeg[2:])
    output = tagger_with_redis("tag", photos, "--write", "embed")
    refusals = (
        "refused: 1 format, 1 signed; the tags of 2 of them are in sidecars",
        "1 photo with content credentials (C2PA): a write would break the signature",
    )
    assert all(text in output.err for text in refusals)
    assert all(text in tagger_with_redis("job", "show", 2).text for text in refusals)
    assert photo.read_bytes() == jpeg[:2] + CREDENTIALS + jpeg[2:]
    assert (photos / "eiffel.jpg.xmp").exists()


def test_after_an_undo_nothing_says_that_tags_are_in_sidecars(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    tagger_with_redis("tag", photos, "--write", "embed")
    assert (
        "refused: 1 format; the tags of 1 of them are in sidecars" in tagger_with_redis("job", "show", 2).text
    )
    assert tagger_with_redis("job", "show", 2, "--json").json["refused_with_sidecar"] == 1
    tagger_with_redis("metadata", "undo", "--job", 2)
    assert not (photos / "moving.gif.xmp").exists()
    assert "sidecars" not in tagger_with_redis("job", "show", 2).text
    assert tagger_with_redis("job", "show", 2, "--json").json["refused_with_sidecar"] == 0
    assert all(
        "refused_with_sidecar" not in tagger_with_redis("job", "show", job, "--json").json for job in (1, 3)
    )
    assert "The tags were written to a sidecar" in tagger_with_redis("job", "failures", 2).text


def test_photos_that_could_not_be_written_are_listed_by_kind(
    tagger_with_redis: CommandRunner, photos: Path
) -> None:
    tagger_with_redis("tag", photos)
    (photos / "berlin" / "gate.jpg").unlink()
    os.link(photos / "eiffel.jpg", photos.parent / "second-name.jpg")
    output = tagger_with_redis("metadata", "write", "--to", "embed")
    assert output.code == 3
    assert "1 failed" in output.err
    assert "2 refused" in output.err
    assert output.err.count("tagger job failures") == 1
    job = tagger_with_redis("status", "--json").json["jobs"][0]["job"]
    listed = tagger_with_redis("job", "failures", job, "--json").json
    assert {Path(each["path"]).name: each["kind"] for each in listed} == {
        "gate.jpg": "gone",
        "moving.gif": "format",
        "eiffel.jpg": "link",
    }
    assert all(each["text"] and each["attempts"] == 1 and each["job"] == job for each in listed)
    only = tagger_with_redis(
        "job", "failures", job, "--kind", "format", "--kind", "gone", "--format", "paths"
    ).text
    assert {Path(line).name for line in only.splitlines()} == {"gate.jpg", "moving.gif"}
    assert "1 photo not written" in tagger_with_redis("job", "failures", job, "--kind", "link").err
    wrong = tagger_with_redis("job", "failures", job, "--kind", "not-an-image")
    assert wrong.code == 2
    assert "read-only" in wrong.err
    # None of them fails to be tagged.
    assert tagger_with_redis("job", "failures", "--json").json == []
    # A sidecar takes what a photo must not.
    assert (
        tagger_with_redis("metadata", "write", "--to", "sidecar", "--under", photos / "eiffel.jpg").code == 0
    )


def test_workers_write_what_jobs_backfills_and_schedules_ask_for(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})
    folder = terminal.folder / "photos"
    draw_many(folder, 40)
    before = state(folder)
    with terminal.processing_jobs():
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
            *("schedule", "add", "nightly", "--cron", "0 3 * * *", "all", "--write", "sidecar", "--gps"),
            "--gps-estimated",
        )
        fields = {
            "gps": True,
            "description": False,
            "language": None,
            "max_error_m": 5000,
            "embed_objects": False,
        }
        assert made["options"]["write"] == {"to": "sidecar", **fields}
        assert "sidecar" in terminal.run("schedule", "list").stdout
        run = terminal.json("schedule", "run-now", "nightly")
        terminal.wait_until(lambda: any(job.parent == run["job"] and job.is_over for job in terminal.jobs()))
        status = terminal.json("status")["jobs"]
        assert all(adds_up(job) for job in status)
        (chained,) = [job for job in status if job["parent"] == run["job"]]
        assert (chained["kind"], chained["state"]) == ("write", "finished")

        undone = terminal.run("metadata", "undo", "--all", "--enqueue", "--wait", code=0)
        assert "metadata undone" in undone.stderr
    before.pop("00/00000.jpg")
    assert {name: data for name, data in state(folder).items() if name != "00/00000.jpg.xmp"} == before
