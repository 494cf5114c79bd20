"""Writing tags into photos and sidecars, and undoing it, also by the record of another database."""

import os
import shutil
from pathlib import Path

import piexif
import pytest
from rig.containers import jpeg_segment
from support.commands import draw
from support.written_folder import SIDECAR_OF_USER

OUTCOMES = [
    "tagged",
    "unknown",
    "skipped",
    "failed",
    "cancelled",
    "queued",
    "running",
    "written",
    "unchanged",
    "refused",
]
CREDENTIALS = jpeg_segment(0xEB, b"JP\0\x01\0\0\0\x01\0\0\0\x50jumb\0\0\0\x1ejumdc2pa")


@pytest.fixture
def photos(tmp_path) -> Path:
    """A photo of each kind: two landmarks, one that cannot be embedded, one of nothing that is known."""
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


def test_tags_go_into_sidecars_and_the_photos_stay_as_they_are(tagger_with_redis, photos):
    before = state(photos)
    output = tagger_with_redis("tag", photos, "--write", "sidecar", code=0)
    assert f"{photos / 'eiffel.jpg'}: Eiffel Tower " in output.text
    assert f"{photos / 'eiffel.jpg'}: written: Eiffel Tower → eiffel.jpg.xmp" in output.text
    assert "job 1 finished: 4 photos: 3 tagged, 1 unknown, 0 skipped" in output.err
    assert "job 2 finished, metadata written: 3 photos: 3 written, 0 unchanged" in output.err
    after = state(photos)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"eiffel.jpg.xmp", "berlin/gate.jpg.xmp", "moving.gif.xmp"}
    (photos / "broken.jpg").write_bytes(b"no picture")
    again = tagger_with_redis("tag", photos, "--write", "sidecar", code=3)
    assert "3 photos: 0 written, 3 unchanged" in again.err
    assert state(photos) == after | {"broken.jpg": state(photos)["broken.jpg"]}
    assert "Run `tagger metadata write` again" in tagger_with_redis("job", "retry", 2, code=1).err


def test_tags_go_into_the_photos_and_what_cannot_be_embedded_gets_a_sidecar(tagger_with_redis, photos):
    before = state(photos)
    output = tagger_with_redis("tag", photos, "--write", "embed", "--gps", "--description", code=3)
    assert "written: Eiffel Tower → the photo itself" in output.text
    assert "moving.gif: refused: Tags are embedded into JPEG files only" in output.text
    assert "The tags were written to a sidecar: Brandenburg Gate → moving.gif.xmp" in output.text
    assert "3 photos: 2 written, 0 unchanged, 1 refused" in output.err
    assert "were refused, run: tagger job failures 2" in output.err
    after = state(photos)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"eiffel.jpg", "berlin/gate.jpg", "moving.gif.xmp"}
    assert after["eiffel.jpg"][1] == before["eiffel.jpg"][1]
    assert piexif.load(str(photos / "eiffel.jpg"))["GPS"][piexif.GPSIFD.GPSLatitudeRef] == b"N"


def test_json_stays_one_document_though_two_jobs_ran(tagger_with_redis, photos):
    document = tagger_with_redis("tag", photos, "--write", "sidecar", "--json").json
    assert (document["job"], document["write_job"], document["tagged"]) == (1, 2, 3)
    jobs = tagger_with_redis("status", "--json").json["jobs"]
    assert [(job["kind"], job["parent"], job["total"]) for job in jobs] == [("write", 1, 3), ("tag", None, 4)]
    for job in (*jobs, document):
        assert sum(job[outcome] for outcome in OUTCOMES) == job["total"]
    written = tagger_with_redis("metadata", "write", "--to", "sidecar", "--json").json
    assert (written["written"], written["unchanged"], written["total"]) == (0, 3, 3)
    assert "its tags are written by job 2" in tagger_with_redis("job", "show", "1").text
    assert "writes the tags of job 1" in tagger_with_redis("job", "show", "2").text


def test_a_dry_run_shows_the_difference_and_changes_nothing(tagger_with_redis, photos):
    tagger_with_redis("tag", photos)
    before = state(photos)
    write = ("metadata", "write", "--to", "embed")
    output = tagger_with_redis(*write, "--dry-run", code=0)
    assert f"{photos / 'eiffel.jpg'}: + Eiffel Tower\n" in output.text
    verbose = tagger_with_redis(*write, "--dry-run", "-v")
    assert ("add -v" in output.err, "add -v" in verbose.err) == (True, False)
    fields = verbose.text
    assert "  + XMP:lr:hierarchicalSubject: Places|France|Paris|Eiffel Tower" in fields
    assert "EXIF:GPS" not in fields
    assert (
        f"{photos / 'moving.gif'}: would get a sidecar file instead: Tags are embedded into JPEG files only"
        in output.text
    )
    assert f"{photos / 'moving.gif.xmp'} (new): " in output.text
    assert "2 photos would be changed, 1 new sidecar would be created; nothing was changed" in output.err
    listed = tagger_with_redis(*write, "--gps", "--dry-run", "--json").json
    by_name = {Path(each["path"]).name: each for each in listed}
    assert by_name.keys() == {"eiffel.jpg", "gate.jpg", "moving.gif"}
    (file,) = by_name["eiffel.jpg"]["files"]
    assert {"change": "added", "field": "XMP:dc:subject", "value": "Eiffel Tower"} in file["changes"]
    assert "EXIF:GPSLatitude" in {change["field"] for change in file["changes"]}
    assert by_name["moving.gif"]["refusal"].startswith("Tags are embedded into JPEG")
    assert state(photos) == before
    assert len(tagger_with_redis("status", "--json").json["jobs"]) == 1
    tagger_with_redis(*write)
    written = state(photos)
    undoing = tagger_with_redis("metadata", "undo", "--all", "--dry-run")
    assert "eiffel.jpg: - Eiffel Tower\n" in undoing.text
    assert f"{photos / 'moving.gif.xmp'} (removed)" in undoing.text
    assert "no photo would be changed, 3 photos up to date" in tagger_with_redis(*write, "--dry-run").err
    assert state(photos) == written


def test_metadata_of_photo_and_sidecar_is_shown_side_by_side(tagger_with_redis, photos):
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
    alone = tagger_with_redis("metadata", "show", f"{eiffel}.xmp", "--json").json
    assert (alone["photo"], alone["sidecars"]) == (None, document["sidecars"])
    (photos / "note.txt").write_text("no photo")
    no_photo = tagger_with_redis("metadata", "show", photos / "note.txt", code=2)
    assert "it is no photo and no sidecar file" in no_photo.err
    assert "to eiffel.jpg.xmp" in tagger_with_redis("show", eiffel).text
    written = tagger_with_redis("show", eiffel, "--json").json["metadata"]
    assert [(each["file"], each["target"], each["job"], each["landmarks"]) for each in written] == [
        ("eiffel.jpg", "embed", 2, ["eiffel-tower"]),
        ("eiffel.jpg.xmp", "sidecar", 3, ["eiffel-tower"]),
    ]


def test_writes_are_undone_by_job_by_folder_or_all_at_once(tagger_with_redis, photos):
    before = state(photos)
    tagger_with_redis("tag", photos, "--write", "embed")
    written = state(photos)
    output = tagger_with_redis("metadata", "undo", photos / "eiffel.jpg", code=0)
    assert "undone: removed from the photo itself" in output.text
    assert "metadata undone: 1 photo: 1 undone" in output.err
    assert state(photos) == {**written, "eiffel.jpg": before["eiffel.jpg"]}
    assert tagger_with_redis("metadata", "undo", "--job", 2, "--json").json["written"] == 2
    assert state(photos) == before
    assert (
        "neither the database nor a file there has written metadata"
        in tagger_with_redis("metadata", "undo", "--all").err
    )
    assert tagger_with_redis("query", "--json").json[0]["tags"]  # the tags stay in the database
    assert "99" in tagger_with_redis("metadata", "undo", "--job", 99, code=1).err


def test_undo_names_the_photos_whose_sidecars_other_programs_have_edited(tagger_with_redis, photos):
    tagger_with_redis("tag", photos, "--write", "sidecar")
    sidecar = photos / "moving.gif.xmp"
    sidecar.write_bytes(sidecar.read_bytes().replace(b"<rdf:li>", b"<rdf:li>mine</rdf:li><rdf:li>", 1))
    output = tagger_with_redis("metadata", "undo", "--all")
    assert "3 undone" in output.err
    assert f"the rest stays: {photos / 'moving.gif'}" in output.err
    assert "tagger job failures 3 --kind edited" in output.err
    assert {path.name for path in photos.rglob("*.xmp")} == {sidecar.name}
    assert "edited: 1 photo" in tagger_with_redis("job", "show", "3").text
    assert tagger_with_redis("job", "show", "3", "--json").json["edited"] == [str(photos / "moving.gif")]
    (listed,) = tagger_with_redis("job", "failures", "3", "--kind", "edited", "--json").json
    assert (listed["kind"], listed["path"]) == ("edited", str(photos / "moving.gif"))
    others = tagger_with_redis("job", "failures", "3")
    assert others.text == ""
    assert "0 photos not undone" in others.err
    assert (
        "edited: 1 photo, which another program has changed since the write; to list them, run:" in others.err
    )


def test_what_makes_no_sense_is_wrong_usage(tagger_with_redis, photos):
    before = state(photos)
    missing = tagger_with_redis("metadata", "write").err
    assert all(word in missing for word in ("'--to'", "sidecar", "embed"))
    for words in (
        ["metadata", "write"],
        ["metadata", "undo"],
        ["metadata", "undo", "--all", "photos"],
        ["metadata", "undo", "--all", "--wait"],
        ["metadata", "undo", "--all", "--enqueue", "--dry-run"],
        ["metadata", "write", "--to", "sidecar", "--wait"],
        ["metadata", "write", "--to", "sidecar", "--max-error-km", "1"],
        ["tag", "photos", "--gps-estimated"],
        ["tag", "photos", "--gps"],
        ["tag", "photos", "--write", "none", "--description"],
        ["backfill", "all", "--gps"],
    ):
        output = tagger_with_redis(*words)
        assert (output.code, output.out) == (2, b""), words
        assert "Traceback" not in output.err, words
    assert state(photos) == before


def test_summary_says_how_many_photos_are_signed_and_why_they_are_refused(tagger_with_redis, photos):
    photo = photos / "eiffel.jpg"
    jpeg = photo.read_bytes()
    photo.write_bytes(jpeg[:2] + CREDENTIALS + jpeg[2:])
    output = tagger_with_redis("tag", photos, "--write", "embed", code=3)
    refusals = (
        "refused: 1 format, 1 signed; the tags of 2 of them are in sidecars",
        "1 photo with content credentials (C2PA): a write would break the signature",
    )
    assert all(text in output.err for text in refusals)
    assert all(text in tagger_with_redis("job", "show", 2).text for text in refusals)
    assert photo.read_bytes() == jpeg[:2] + CREDENTIALS + jpeg[2:]
    assert (photos / "eiffel.jpg.xmp").exists()


def test_photos_that_could_not_be_written_are_listed_by_kind(tagger_with_redis, photos):
    tagger_with_redis("tag", photos)
    (photos / "berlin" / "gate.jpg").unlink()
    os.link(photos / "eiffel.jpg", photos.parent / "second-name.jpg")
    output = tagger_with_redis("metadata", "write", "--to", "embed", code=3)
    assert ("1 gone" in output.err, "2 refused" in output.err) == (True, True)
    listed = tagger_with_redis("job", "failures", 2, "--json").json
    assert {Path(each["path"]).name: each["kind"] for each in listed} == {
        "gate.jpg": "gone",
        "moving.gif": "format",
        "eiffel.jpg": "link",
    }
    assert all(each["text"] and each["attempts"] == 1 and each["job"] == 2 for each in listed)
    kinds = ("--kind", "format", "--kind", "gone", "--format", "paths")
    only = tagger_with_redis("job", "failures", 2, *kinds).text
    assert {Path(line).name for line in only.splitlines()} == {"gate.jpg", "moving.gif"}
    assert "read-only" in tagger_with_redis("job", "failures", 2, "--kind", "not-an-image", code=2).err
    # None of them fails to be tagged, and a sidecar takes what a photo must not.
    assert tagger_with_redis("job", "failures", "--json").json == []
    sidecar = ("metadata", "write", "--to", "sidecar", "--under", photos / "eiffel.jpg")
    assert tagger_with_redis(*sidecar).code == 0


OURS = b"landmark-tagger"


@pytest.fixture
def folder(tagger_with_redis, tmp_path) -> Path:
    """A folder with a photo whose tags were written to a sidecar, and one into which they were embedded."""
    folder = tmp_path / "photos"
    draw(folder / "a.jpg", 0, seed=1)
    tagger_with_redis("tag", folder, "--write", "sidecar")
    draw(folder / "b.jpg", 0, seed=2)
    shutil.copy2(folder / "b.jpg", tmp_path)
    tagger_with_redis("tag", folder / "b.jpg", "--write", "embed")
    return folder


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*") if OURS in path.read_bytes()}


def test_copies_that_were_not_scanned_are_named(tagger_with_redis, folder):
    shutil.copytree(folder, folder / "copies")
    undone = tagger_with_redis("metadata", "undo", "--all")
    assert (undone.code, left(folder)) == (3, {"copies/a.jpg.xmp", "copies/b.jpg"})
    assert "tags of tagger are still in 2 files" in undone.err
    assert f"{folder}/copies/a.jpg.xmp, {folder}/copies/b.jpg;" in undone.err


def test_forgotten_photos_are_named_with_the_commands_that_undo_them(tagger_with_redis, folder):
    original_bytes = folder.with_name("b.jpg").read_bytes()
    tagger_with_redis("forget", folder)
    for _ in range(2):
        output = tagger_with_redis("metadata", "undo", "--all", code=3)
        assert "2 written files belong to photos that were removed from the database" in output.err
        assert "tagger metadata undo FOLDER" in output.err
    named = tagger_with_redis("metadata", "undo", folder)
    assert (named.code, left(folder)) == (3, {"a.jpg.xmp", "b.jpg"})
    tagger_with_redis("tag", folder, "--write", "sidecar")
    undone = tagger_with_redis("metadata", "undo", folder)
    assert (undone.code, left(folder)) == (0, set())
    assert "the original is restored" in undone.text
    assert (folder / "b.jpg").read_bytes() == original_bytes
    assert "nothing is left to undo" in tagger_with_redis("metadata", "undo", folder, code=0).err


def test_what_another_database_wrote_is_named_and_can_be_taken_over(
    tagger_with_redis, folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    other = tagger_with_redis
    for path in (folder, folder / "b.jpg"):
        named = other("metadata", "undo", path, code=3)
        assert str(folder / "b.jpg") in named.err
    assert "tagger tag FOLDER --write sidecar, then: tagger metadata undo FOLDER" in named.err
    other("tag", folder, "--write", "sidecar")
    undone = other("metadata", "undo", folder)
    assert (undone.code, left(folder)) == (0, set())
    assert (folder / "b.jpg").read_bytes() == folder.with_name("b.jpg").read_bytes()


def test_show_goes_by_the_record(tagger_with_redis, tmp_path):
    photo = tmp_path / "photos" / "a.jpg"
    draw(photo, 0)
    sidecar = photo.with_suffix(".xmp")
    sidecar.write_text(SIDECAR_OF_USER)
    tagger_with_redis("tag", photo, "--write", "sidecar")
    photo.with_suffix(".png").write_bytes(b"another photo")
    shown = tagger_with_redis("metadata", "show", photo)
    assert (shown.code, "a.xmp: tagger wrote Eiffel Tower" in shown.text) == (0, True)
    sidecar.unlink()
    lost = tagger_with_redis("metadata", "show", photo)
    assert (lost.code, "a.xmp, into which tags were written, is not there any more" in lost.err) == (3, True)
