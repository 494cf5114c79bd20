"""Chunks of metadata jobs: what is written, refused, undone and restored, and which files are recorded."""

import os
import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from PIL import Image
from rig.xmp_packets import packet_of, xmp_list
from support.colour_folders import EIFFEL, GATE
from support.written_folder import EMBED, SIDECAR, SIDECAR_OF_USER, WrittenFolder

from tagger.database import Target, VerdictKind
from tagger.jobs.enqueue.metadata_jobs import Undo
from tagger.jobs.enqueue.submission import MetadataOptions
from tagger.jobs.processing import metadata_preview, metadata_writing
from tagger.metadata import photo_writer
from tagger.metadata.photo_files import files_with_our_values, photo_fields, xmp_fields
from tagger.roots import forget_path

EIFFEL_NAME, GATE_NAME = "Eiffel Tower", "Brandenburg Gate"
OWNERS = packet_of(xmp_list("dc:subject", "holiday"))


def draw_with_keyword(folder: WrittenFolder, name: str, label: int | None = 0) -> Path:
    path = folder.draw(name, label, shade=sum(name.encode()) % 40)
    image = Image.open(path)
    image.save(path, quality=90, xmp=OWNERS)
    return path


def keywords(path: Path) -> list[str]:
    data = path.read_bytes()
    fields = xmp_fields(data) if path.suffix == ".xmp" else photo_fields(data)
    keywords_found = fields.get("XMP:dc:subject", [])
    return keywords_found if isinstance(keywords_found, list) else [keywords_found]


def test_writes_classify_nothing_and_follow_verdicts(folder):
    path = folder.draw("a.jpg")
    folder.draw("b.jpg", 1)
    folder.tag()
    folder.write(MetadataOptions(Target.EMBED, gps=True, description=True))
    row = folder.photo("a.jpg")
    assert (row.classified_size_bytes, row.size_bytes) == (path.stat().st_size,) * 2
    assert (row.classified_mtime_ns, row.mtime_ns) == (path.stat().st_mtime_ns,) * 2
    assert folder.tag() == {"a.jpg": "skipped", "b.jpg": "skipped"}
    assert folder.results == []
    folder.undo()
    assert folder.tag() == {"a.jpg": "skipped", "b.jpg": "skipped"}
    assert folder.results == []
    path = draw_with_keyword(folder, "a.jpg")
    folder.draw("b.jpg", 0, shade=1)
    before = folder.files()
    folder.tag()
    folder.write(SIDECAR)
    folder.write()
    assert keywords(path) == keywords(path.with_name("a.jpg.xmp")) == ["holiday", EIFFEL_NAME]
    folder.judge("a.jpg", EIFFEL, VerdictKind.REJECTED)
    folder.judge("a.jpg", GATE, VerdictKind.CONFIRMED)
    assert folder.write() == {"a.jpg": "written", "b.jpg": "unchanged"}
    assert keywords(path) == keywords(path.with_name("a.jpg.xmp")) == ["holiday", GATE_NAME]
    folder.judge("a.jpg", GATE, VerdictKind.REJECTED)
    assert folder.write() == {"a.jpg": "written", "b.jpg": "unchanged"}
    assert path.read_bytes() == before["a.jpg"]
    assert not path.with_name("a.jpg.xmp").exists()
    folder.undo()
    assert folder.files() == before


def test_refused_embedding_becomes_a_sidecar_with_a_reason(folder):
    folder.draw("moving.gif", 1)
    folder.draw("protected.jpg", 0).chmod(0o444)
    os.link(folder.draw("two-names.jpg", 0, shade=1), folder.folder.parent / "other-name.jpg")
    folder.draw("turned-link.jpg", 0, shade=2)
    folder.tag()
    elsewhere = folder.folder.parent / "elsewhere.jpg"
    (folder.folder / "turned-link.jpg").rename(elsewhere)
    (folder.folder / "turned-link.jpg").symlink_to(elsewhere)
    before = folder.files()
    assert set(folder.write().values()) == {"refused"}
    reasons = folder.reasons(folder.latest().job)
    assert {name: reason for name, (_, reason, _) in reasons.items()} == {
        "moving.gif": "format",
        "protected.jpg": "read-only",
        "two-names.jpg": "link",
        "turned-link.jpg": "link",
    }
    after = folder.files()
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"{name}.xmp" for name in before}
    for name, (_, _, text) in reasons.items():
        assert f"{name}.xmp" in (text or "")
        assert keywords(folder.folder / f"{name}.xmp") == [GATE_NAME if name == "moving.gif" else EIFFEL_NAME]
    assert set(folder.write().values()) == {"refused"}
    assert folder.files() == after
    folder.undo()
    assert folder.files() == before
    assert (folder.folder / "turned-link.jpg").is_symlink()


def test_photo_with_a_changed_image_gets_no_sidecar(folder):
    folder.draw("a.jpg", 0)
    folder.draw("b.jpg", 0, shade=1)
    folder.tag()
    folder.draw("a.jpg", 1, shade=9)
    before = folder.files()
    assert folder.write(SIDECAR) == {"a.jpg": "refused", "b.jpg": "written"}
    assert folder.write() == {"a.jpg": "refused", "b.jpg": "written"}
    assert folder.reasons(folder.latest().job)["a.jpg"][1] == "changed"
    assert (folder.folder / "a.jpg").read_bytes() == before["a.jpg"]
    assert not (folder.folder / "a.jpg.xmp").exists()


def test_copies_are_restored_exactly_and_those_of_a_backup_were_never_written(folder, monkeypatch):
    monkeypatch.setattr(metadata_writing.MetadataWriter, "batch_size", 1)  # each in a transaction of its own
    path = draw_with_keyword(folder, "a.jpg")
    original = path.read_bytes()
    folder.tag()
    folder.write()
    for name in ("b.jpg", "c.jpg", "d.jpg"):
        shutil.copy2(path, folder.folder / name)
    folder.tag()
    path.unlink()
    folder.tag()
    folder.undo()
    assert folder.files() == {f"{name}.jpg": original for name in "bcd"}
    assert folder.undo_rows == []
    path = draw_with_keyword(folder, "b.jpg")
    original = path.read_bytes()
    folder.tag()
    folder.write()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (folder.folder / name).write_bytes(original)
    folder.tag()
    folder.undo()
    assert folder.undo_rows == []


def test_copies_that_a_killed_undo_has_restored_count_as_restored(folder, monkeypatch):
    path = draw_with_keyword(folder, "a.jpg")
    original = path.read_bytes()
    shutil.copy2(path, folder.folder / "b.jpg")
    folder.tag()
    folder.write()
    job = folder.submit(Undo(None, ()), local=False)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(metadata_writing.MetadataWriter, "_store", kill)
        with pytest.raises(KeyboardInterrupt):
            folder.work(job)
    assert folder.files() == {"a.jpg": original, "b.jpg": original}
    monkeypatch.setattr(metadata_writing.MetadataWriter, "batch_size", 1)  # each in a transaction of its own
    folder.lose_leases(job)
    folder.work(job)
    assert folder.undo_rows == []


def test_forgotten_photos_are_restored_exactly_once_they_are_tagged_again(folder):
    for name in ("a.jpg", "b.jpg"):
        draw_with_keyword(folder, name)
    before = folder.files()
    folder.tag()
    folder.write(SIDECAR)
    folder.write()
    forget_path(folder.database, folder.folder, folder.settings.roots)
    folder.tag()
    folder.undo()
    assert folder.files() == before


def test_an_empty_sidecar_is_restored_though_many_new_ones_are_equal(folder, monkeypatch):
    monkeypatch.setattr(metadata_preview, "_SAME_DIGEST_ROWS", 1)
    for shade, name in enumerate(("a.jpg", "b.jpg")):
        folder.draw(name, 0, shade=shade)
    (folder.folder / "a.jpg.xmp").write_bytes(b"")
    before = folder.files()
    folder.tag()
    folder.write(SIDECAR)
    after = folder.files()
    assert after["a.jpg.xmp"] == after["b.jpg.xmp"]
    folder.undo()
    assert folder.files() == before


def test_the_sidecar_of_an_embedded_photo_is_updated_and_undo_keeps_other_jobs_writes(folder):
    path = folder.draw("a.jpg")
    before = folder.files()
    folder.tag()
    folder.write(SIDECAR)
    options = MetadataOptions(Target.EMBED, gps=True, description=True)
    assert folder.write(options) == {"a.jpg": "written"}
    sidecar = path.with_name("a.jpg.xmp").read_bytes()
    assert xmp_fields(sidecar)["XMP:dc:description"] == "Eiffel Tower, Paris, France"
    assert folder.write(options) == {"a.jpg": "unchanged"}
    assert path.with_name("a.jpg.xmp").read_bytes() == sidecar
    folder.undo()
    assert folder.files() == before
    original = path.read_bytes()
    folder.tag()
    folder.write()
    embedding = folder.latest().job
    folder.write(SIDECAR)
    assert keywords(path) == [EIFFEL_NAME]
    assert folder.undo(job=folder.latest().job) == {"a.jpg": "written"}
    assert not path.with_name("a.jpg.xmp").exists()
    assert keywords(path) == [EIFFEL_NAME]
    assert folder.undo(job=embedding) == {"a.jpg": "written"}
    assert path.read_bytes() == original


LIBRARY_PHOTOS = (
    "P.photoslibrary/originals/A/a.jpg",
    "P.photolibrary/Masters/a.jpg",
    "immich/upload/u/ab/cd/a.jpg",
    "immich/library/admin/2015/a.jpg",
    "C.cocatalog/Originals/a.jpg",
)


def test_nothing_is_written_in_the_library_of_another_program(folder):
    for number, name in enumerate(LIBRARY_PHOTOS):
        folder.draw(name, 0, shade=number)
    (folder.folder / "immich" / "encoded-video").mkdir()
    folder.tag()
    before = folder.files()
    for options in (EMBED, SIDECAR):
        assert folder.write(options) == dict.fromkeys(LIBRARY_PHOTOS, "refused")
        reasons = folder.reasons(folder.latest().job)
        assert {reason for _, reason, _ in reasons.values()} == {"library"}
        assert "'P.photoslibrary', a folder with photos of Apple Photos" in (
            reasons[LIBRARY_PHOTOS[0]][2] or ""
        )
    assert folder.files() == before


def test_no_folders_of_other_programs_are_searched_for_our_values(folder):
    photo = folder.draw("a.jpg", 0)
    folder.tag()
    folder.write()
    for name in (*LIBRARY_PHOTOS, "#snapshot/1/a.jpg", ".Trash-1000/files/a.jpg", "copies/a.jpg"):
        (folder.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(photo, folder.folder / name)
    (folder.folder / "immich" / "encoded-video").mkdir()
    (folder.folder / "link.jpg").symlink_to(photo)
    for searched, expected in (("", ["a.jpg", "copies/a.jpg"]), ("#snapshot", ["#snapshot/1/a.jpg"])):
        found = files_with_our_values([folder.folder / searched], max_bytes=10**6)
        assert list(found) == [folder.folder / name for name in expected]


def test_what_was_written_in_a_library_before_can_be_undone(folder, monkeypatch):
    folder.draw("P.photoslibrary/originals/a.jpg", 0)
    before = folder.files()
    folder.tag()
    with monkeypatch.context() as patched:
        patched.setattr(photo_writer, "owning_folder", lambda *_: None)
        folder.write()
    assert folder.files() != before
    folder.undo()
    assert folder.files() == before


def test_undo_names_a_sidecar_that_was_cut_meanwhile(folder):
    path = folder.draw("a.jpg", 0)
    original = path.read_bytes()
    folder.tag()
    sidecar = folder.folder / "a.jpg.xmp"
    for length in (0, 40, 400, -30):
        folder.write(SIDECAR)
        folder.write(EMBED)
        whole = sidecar.read_bytes()
        sidecar.write_bytes(whole[:length])
        assert folder.undo() == {"a.jpg": "refused"}, length
        _, reason, text = folder.reasons(folder.latest().job)["a.jpg"]
        assert reason == "xmp"
        assert "a.jpg.xmp cannot be undone" in (text or "")
        assert "removed from the photo itself; the original is restored" in (text or "")
        assert (path.read_bytes(), sidecar.read_bytes()) == (original, whole[:length])
        sidecar.write_bytes(whole)  # from a backup
        folder.undo()
        assert not sidecar.exists()


SIBLINGS = (
    *("IMG_1.MOV", "IMG_1.AAE", "IMG_1.JPG_original", "IMG_1.png", "IMG_1.txt", "IMG_1.CR3", "IMG_1.json"),
    *("IMG_1.THM", "IMG_1.dop", "IMG_1.xmp~", "IMG_1.heic", "IMG_1.jpg.xmp~"),
)


@pytest.fixture
def recorded_folder(database, tmp_path) -> WrittenFolder:
    """A folder with a photo and the sidecar of its stem by another program."""
    written = WrittenFolder(database, tmp_path)
    written.draw("IMG_1.jpg", 0)
    (written.folder / "IMG_1.xmp").write_text(SIDECAR_OF_USER)
    written.tag()
    return written


def move(folder: WrittenFolder, old: str, new: str) -> None:
    (folder.folder / new).parent.mkdir(exist_ok=True)
    (folder.folder / old).rename(folder.folder / new)


def with_our_values(folder: WrittenFolder) -> set[str]:
    return {name for name, data in folder.files().items() if b"Eiffel Tower" in data}


def test_a_file_that_appears_beside_a_photo_changes_nothing(recorded_folder):
    before = recorded_folder.files()
    for sibling in SIBLINGS:
        recorded_folder.write(SIDECAR)
        assert with_our_values(recorded_folder) == {"IMG_1.xmp"}
        (recorded_folder.folder / sibling).write_bytes(b"another program")
        recorded_folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.REJECTED)
        assert set(recorded_folder.write(SIDECAR).values()) == {"written"}
        assert recorded_folder.files() == {**before, sibling: b"another program"}
        recorded_folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.CONFIRMED)
        assert recorded_folder.write(SIDECAR)["IMG_1.jpg"] == "written"
        recorded_folder.undo()
        assert recorded_folder.files() == {**before, sibling: b"another program"}
        assert recorded_folder.undo_rows == []
        (recorded_folder.folder / sibling).unlink()


MOVES = {
    "photo in another case": {"IMG_1.jpg": "IMG_1.JPG"},
    "sidecar in another case": {"IMG_1.xmp": "img_1.XMP"},
    "both renamed": {"IMG_1.jpg": "holiday.jpg", "IMG_1.xmp": "holiday.xmp"},
    "both moved": {"IMG_1.jpg": "new/IMG_1.jpg", "IMG_1.xmp": "new/IMG_1.xmp"},
    "photo renamed": {"IMG_1.jpg": "holiday.jpg"},
    "photo moved": {"IMG_1.jpg": "new/IMG_1.jpg"},
}
CHANGES: dict[str, Callable[[WrittenFolder], object]] = {
    "photo deleted": lambda folder: (folder.folder / "IMG_1.jpg").unlink(),
    "photo replaced": lambda folder: folder.draw("IMG_1.jpg", 1, shade=7),
    "both copied": lambda folder: shutil.copytree(folder.folder, folder.folder / "new"),
    "sidecar deleted": lambda folder: (folder.folder / "IMG_1.xmp").unlink(),
    "sidecar replaced": lambda folder: (folder.folder / "IMG_1.xmp").write_text(
        SIDECAR_OF_USER.replace('"5"', '"4"')
    ),
    "sidecar renamed": lambda folder: move(folder, "IMG_1.xmp", "old.xmp"),
}


def change(folder: WrittenFolder, how: str) -> None:
    for old, new in MOVES.get(how, {}).items():
        move(folder, old, new)
    CHANGES.get(how, bool)(folder)
    if "photo" in how or "both" in how:
        folder.tag()


@pytest.mark.parametrize(
    ("how", "of_job"),
    [
        *product([*MOVES, "photo deleted", "photo replaced"], [False]),
        ("both copied", False),  # the undo of a job leaves copies alone
        *(
            pytest.param(how, True, marks=pytest.mark.slow if how != "photo renamed" else ())
            for how in (*MOVES, "photo deleted", "photo replaced")
        ),
    ],
)
def test_undo_finds_the_sidecar_by_its_record(recorded_folder, how, of_job):
    recorded_folder.write(SIDECAR)
    job = recorded_folder.latest().job if of_job else None
    change(recorded_folder, how)
    sidecars = {name for name in recorded_folder.files() if name.lower().endswith(".xmp")}
    outcomes = recorded_folder.undo(job=job)
    assert "written" in outcomes.values()
    assert "refused" not in outcomes.values()
    files = recorded_folder.files()
    assert {name: files[name].decode() for name in sidecars} == dict.fromkeys(sidecars, SIDECAR_OF_USER)


@pytest.mark.parametrize("how", [*MOVES][:4])
def test_the_next_write_keeps_one_sidecar(recorded_folder, how):
    recorded_folder.write(SIDECAR)
    change(recorded_folder, how)
    recorded_folder.write(SIDECAR)
    assert len(with_our_values(recorded_folder)) == 1


def test_the_next_write_cleans_what_a_renamed_photo_has_left_behind(recorded_folder):
    recorded_folder.write(SIDECAR)
    change(recorded_folder, "photo renamed")
    recorded_folder.write(SIDECAR)
    assert with_our_values(recorded_folder) == {"holiday.jpg.xmp"}


@pytest.mark.parametrize(
    ("how", "update"),
    [
        *product(["sidecar deleted", "sidecar replaced", "sidecar renamed"], [False, True]),
        ("both deleted", False),  # no photo is left to write
    ],
)
def test_a_file_that_is_lost_is_named_once(recorded_folder, how, update):
    recorded_folder.write(SIDECAR)
    if how == "both deleted":
        recorded_folder.draw("other.jpg", None)  # an empty folder may be a disk that is not mounted
        change(recorded_folder, "sidecar deleted")
        change(recorded_folder, "photo deleted")
    change(recorded_folder, how)
    if update:
        recorded_folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.REJECTED)
    assert recorded_folder.write(SIDECAR) if update else recorded_folder.undo() == {"IMG_1.jpg": "refused"}
    outcome, reason, text = recorded_folder.reasons(recorded_folder.latest().job)["IMG_1.jpg"]
    assert (outcome, reason) == ("refused", "lost")
    assert "'IMG_1.xmp'" in (text or "")
    assert "refused" not in recorded_folder.undo().values()


def test_a_sidecar_restored_or_lost_and_back_is_no_problem(recorded_folder):
    recorded_folder.write(SIDECAR)
    (recorded_folder.folder / "IMG_1.xmp").write_text(SIDECAR_OF_USER)
    assert recorded_folder.undo() == {"IMG_1.jpg": "unchanged"}
    assert recorded_folder.undo_rows == []
    before = recorded_folder.files()
    recorded_folder.write(SIDECAR)
    change(recorded_folder, "sidecar renamed")
    assert recorded_folder.undo() == {"IMG_1.jpg": "refused"}
    move(recorded_folder, "old.xmp", "IMG_1.xmp")
    recorded_folder.undo()
    assert recorded_folder.files() == before


def test_an_embedded_photo_without_our_record_is_named(recorded_folder):
    original = (recorded_folder.folder / "IMG_1.jpg").read_bytes()
    recorded_folder.write(EMBED)
    (recorded_folder.folder / "IMG_1.jpg").write_bytes(original + b"\0")
    assert recorded_folder.undo() == {"IMG_1.jpg": "refused"}


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
@pytest.mark.parametrize(("options", "name"), [(SIDECAR, "IMG_1.xmp"), (EMBED, "IMG_1.jpg")])
def test_what_exiftool_changed_stays(recorded_folder, options, name):
    recorded_folder.write(options)
    file = recorded_folder.folder / name
    subprocess.run(["exiftool", "-q", "-XMP-dc:Title=edited by exiftool", file], check=True)
    assert recorded_folder.undo() == {"IMG_1.jpg": "written"}
    data = file.read_bytes()
    assert b"ns.landmark-tagger" not in data
    assert b"Eiffel Tower" not in data
    assert b"edited by exiftool" in data
    assert file.with_name(f"{name}_original").exists()


def hard_link(sidecar: Path) -> None:
    sidecar.with_name("link").hardlink_to(sidecar)


def symbolic_link(sidecar: Path) -> None:
    sidecar.rename(sidecar.with_name("target"))
    sidecar.symlink_to("target")


@pytest.mark.parametrize("link", [hard_link, symbolic_link], ids=lambda link: link.__name__)
def test_a_sidecar_that_became_a_link_is_refused_and_stays_on_record(recorded_folder, link):
    recorded_folder.write(SIDECAR)
    link(recorded_folder.folder / "IMG_1.xmp")
    linked = recorded_folder.files()
    recorded_folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.REJECTED)
    for outcomes in (recorded_folder.write(SIDECAR), recorded_folder.undo()):
        assert outcomes == {"IMG_1.jpg": "refused"}
        assert recorded_folder.reasons(recorded_folder.latest().job)["IMG_1.jpg"][1] == "link"
    assert recorded_folder.files() == linked
    assert len(recorded_folder.undo_rows) == 1
