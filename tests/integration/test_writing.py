"""What becomes of photos' files: written, left alone, given a sidecar instead, and taken back byte for byte."""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from artifacts import LABELS, tiny_artifact
from drawing import draw_photo
from folders import EIFFEL, GATE
from PIL import Image
from sqlalchemy import delete, update
from written import EMBED, SIDECAR, WrittenFolder

from tagger.database import Database
from tagger.forgetting import forget_path
from tagger.metadata.additions import NamedLandmark, additions_for
from tagger.metadata.described import photo_fields, xmp_fields
from tagger.metadata.formats import read_blocks, replace_blocks
from tagger.metadata.splices import spliced
from tagger.metadata.xmp import is_ours
from tagger.query import PhotoQuery
from tagger.registry import add_model
from tagger.tables import Target, landmarks, metadata_writes
from tagger.verdicts import Word
from tagger.writing import chunk as writing_chunk
from tagger.writing import photo as writing_photo
from tagger.writing.asked import WriteAsked
from tagger.writing.photo import PhotoToWrite, ready_photo
from tagger.writing.single import plan_unknown, undo_unknown

EIFFEL_NAME, GATE_NAME = "Eiffel Tower", "Brandenburg Gate"
OWNERS = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject>%s</rdf:Description></rdf:RDF></x:xmpmeta>"""
DESCRIBED = (
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">My aunt</rdf:li></rdf:Alt></dc:description>'
)


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> WrittenFolder:
    return WrittenFolder(database, tmp_path)


def owned(folder: WrittenFolder, name: str, label: int | None = 0, *, more: str = "") -> Path:
    """A photo whose owner gave it a keyword."""
    path = folder.draw(name, label, shade=sum(name.encode()) % 40)
    with_xmp = Image.open(path)
    with_xmp.save(path, quality=90, xmp=(OWNERS % more).encode())
    return path


def state(folder: WrittenFolder) -> Mapping[str, bytes]:
    """Every file below the folder, whatever it is called."""
    return {
        str(path.relative_to(folder.folder)): path.read_bytes()
        for path in sorted(folder.folder.rglob("*"))
        if path.is_file()
    }


def keywords(path: Path) -> list[str]:
    data = path.read_bytes()
    fields = xmp_fields(data) if path.suffix == ".xmp" else photo_fields(data)
    found = fields.get("XMP:dc:subject", [])
    return found if isinstance(found, list) else [found]


def edited(path: Path, keyword: str) -> None:
    """Another program adds a keyword of the owner's, and keeps everything else of the file."""
    data = path.read_bytes()
    blocks = read_blocks(data)
    assert blocks.xmp is not None
    item = f"<rdf:li>{keyword}</rdf:li>".encode()
    changed = blocks.xmp.replace(b"</rdf:Bag>", item + b"</rdf:Bag>", 1)
    splices = replace_blocks(data, type(blocks)(changed, blocks.exif, blocks.iptc))
    path.write_bytes(spliced(data, splices))


def exiftool(path: Path, keyword: str) -> None:
    """The same by a real program, which writes the XMP anew in its own way."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    words = ["exiftool", "-q", "-overwrite_original", f"-XMP-dc:Subject+={keyword}", str(path)]
    subprocess.run(words, check=True)


# --- What is chosen, and what comes of it.


def test_tags_are_written_and_everything_else_stays(folder: WrittenFolder) -> None:
    folder.draw("a.jpg", 0)
    owned(folder, "mine.jpg", 1)
    for kind in ("png", "webp", "tif"):
        folder.draw(f"sub/{kind}.{kind}", 1)
    folder.draw("grey.jpg", None)
    (folder.folder / "broken.jpg").write_bytes(b"no picture")
    before = state(folder)
    folder.tag()
    assert set(folder.write().values()) == {"written"}
    after = state(folder)
    changed = {name for name, data in after.items() if data != before.get(name)}
    assert changed == {"a.jpg", "mine.jpg", "sub/png.png", "sub/webp.webp", "sub/tif.tif"}
    assert after.keys() == before.keys()
    assert keywords(folder.folder / "a.jpg") == [EIFFEL_NAME]
    assert keywords(folder.folder / "mine.jpg") == ["holiday", GATE_NAME]
    assert {each.file for each in folder.kept if each.confirmed} == {Path(name).name for name in changed}


def test_what_is_right_already_is_left_alone_to_the_last_bit(folder: WrittenFolder) -> None:
    owned(folder, "a.jpg")
    folder.draw("b.jpg", 1)
    folder.tag()
    folder.write(SIDECAR)
    folder.write()
    before = state(folder)
    noted = [(folder.folder / name).stat().st_ino for name in before]
    for asked in (EMBED, SIDECAR, EMBED):
        assert set(folder.write(asked).values()) == {"unchanged"}
    assert state(folder) == before
    assert [(folder.folder / name).stat().st_ino for name in before] == noted
    assert len(folder.kept) == 4


def test_a_photo_keeps_its_time_and_its_rights(folder: WrittenFolder) -> None:
    path = folder.draw("a.jpg")
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 123_456_789))
    folder.tag()
    folder.write()
    assert keywords(path) == [EIFFEL_NAME]
    assert (path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (10**18 + 123_456_789, 0o640)
    folder.undo()
    assert path.stat().st_mtime_ns == 10**18 + 123_456_789


def test_scanning_again_after_a_write_looks_at_nothing(folder: WrittenFolder) -> None:
    path = folder.draw("a.jpg")
    folder.draw("b.jpg", 1)
    folder.tag()
    folder.write(WriteAsked(Target.EMBED, gps=True, description=True))
    noted = folder.photo("a.jpg")
    assert (noted.looked_size_bytes, noted.size_bytes) == (path.stat().st_size,) * 2
    assert (noted.looked_mtime_ns, noted.mtime_ns) == (path.stat().st_mtime_ns,) * 2
    assert folder.tag() == {"a.jpg": "skipped", "b.jpg": "skipped"}
    assert folder.results == []
    folder.undo()
    assert folder.tag() == {"a.jpg": "skipped", "b.jpg": "skipped"}
    assert folder.results == []


def test_a_position_of_ours_is_never_taken_for_the_cameras(folder: WrittenFolder) -> None:
    path = folder.draw("a.jpg")
    folder.tag()
    folder.write(WriteAsked(Target.EMBED, gps=True))
    assert "EXIF:GPSLatitude" in photo_fields(path.read_bytes())
    os.utime(path)
    folder.tag(again=True)
    noted = folder.photo("a.jpg")
    assert (noted.latitude, noted.longitude, noted.taken_at) == (None, None, None)


def test_an_embedding_that_is_refused_becomes_a_sidecar_and_says_why(folder: WrittenFolder) -> None:
    folder.draw("moving.gif", 1)
    folder.draw("protected.jpg", 0).chmod(0o444)
    os.link(folder.draw("two-names.jpg", 0, shade=1), folder.folder.parent / "other-name.jpg")
    folder.draw("turned-link.jpg", 0, shade=2)
    folder.tag()
    elsewhere = folder.folder.parent / "elsewhere.jpg"
    (folder.folder / "turned-link.jpg").rename(elsewhere)
    (folder.folder / "turned-link.jpg").symlink_to(elsewhere)
    before = state(folder)
    assert set(folder.write().values()) == {"refused"}
    ended = folder.reasons(folder.latest().job)
    assert {name: reason for name, (_, reason, _) in ended.items()} == {
        "moving.gif": "format",
        "protected.jpg": "read-only",
        "two-names.jpg": "link",
        "turned-link.jpg": "link",
    }
    after = state(folder)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"{name}.xmp" for name in before}
    for name, (_, _, text) in ended.items():
        assert f"{name}.xmp" in (text or "")
        assert keywords(folder.folder / f"{name}.xmp") == [GATE_NAME if name == "moving.gif" else EIFFEL_NAME]
    assert set(folder.write().values()) == {"refused"}
    assert state(folder) == after
    folder.undo()
    assert state(folder) == before
    assert (folder.folder / "turned-link.jpg").is_symlink()


def test_a_photo_that_is_another_picture_now_is_left_without_even_a_sidecar(folder: WrittenFolder) -> None:
    folder.draw("a.jpg", 0)
    folder.draw("b.jpg", 0, shade=1)
    folder.tag()
    folder.draw("a.jpg", 1, shade=9)
    before = state(folder)
    assert folder.write(SIDECAR) == {"a.jpg": "refused", "b.jpg": "written"}
    assert folder.write() == {"a.jpg": "refused", "b.jpg": "written"}
    assert folder.reasons(folder.latest().job)["a.jpg"][1] == "changed"
    assert (folder.folder / "a.jpg").read_bytes() == before["a.jpg"]
    assert not (folder.folder / "a.jpg.xmp").exists()


def test_a_photo_that_is_gone_or_forgotten_or_on_a_full_disk_fails_or_is_skipped_alone(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.draw("a.jpg", 0)
    folder.draw("forgotten.jpg", 0, shade=1)
    folder.draw("full.jpg", 0, shade=2)
    folder.draw("gone.jpg", 0, shade=3)
    folder.tag()
    job = folder.recorded()
    before = state(folder)
    (folder.folder / "gone.jpg").unlink()
    forget_path(folder.database, folder.folder / "forgotten.jpg", folder.settings.roots)
    real = writing_photo.make_ready

    def make_ready(planned: object) -> object:
        if planned.photo.path.name == "full.jpg":  # type: ignore[attr-defined]
            with monkeypatch.context() as full:
                full.setattr("tagger.metadata.replacing.write_whole", no_space)
                return real(planned)  # type: ignore[arg-type]
        return real(planned)  # type: ignore[arg-type]

    def no_space(_descriptor: int, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing_photo, "make_ready", make_ready)
    monkeypatch.setattr(writing_chunk, "THREADS", 1)
    folder.work(job)
    ended = folder.reasons(job)
    assert {name: outcome for name, (outcome, _, _) in ended.items()} == {
        "a.jpg": "written",
        "full.jpg": "failed",
        "gone.jpg": "failed",
    }
    assert (ended["gone.jpg"][1], ended["full.jpg"][1]) == ("gone", "disk-full")
    progress = folder.progress(job)
    assert (progress.written, progress.failed, progress.skipped) == (1, 2, 1)
    assert {**before, "a.jpg": b""}.keys() - state(folder).keys() == {"gone.jpg"}
    assert state(folder)["full.jpg"] == before["full.jpg"]


# --- People's words, and other models.


def test_a_rejected_tag_goes_out_of_photo_and_sidecar_and_a_confirmed_one_comes(
    folder: WrittenFolder,
) -> None:
    path = owned(folder, "a.jpg")
    folder.draw("b.jpg", 0, shade=1)
    before = state(folder)
    folder.tag()
    folder.write(SIDECAR)
    folder.write()
    assert keywords(path) == keywords(path.with_name("a.jpg.xmp")) == ["holiday", EIFFEL_NAME]
    folder.judge("a.jpg", EIFFEL, Word.REJECTED)
    folder.judge("a.jpg", GATE, Word.CONFIRMED)
    assert folder.write() == {"a.jpg": "written", "b.jpg": "unchanged"}
    assert keywords(path) == keywords(path.with_name("a.jpg.xmp")) == ["holiday", GATE_NAME]
    folder.judge("a.jpg", GATE, Word.REJECTED)
    assert folder.write() == {"a.jpg": "written", "b.jpg": "unchanged"}
    assert path.read_bytes() == before["a.jpg"]
    assert not path.with_name("a.jpg.xmp").exists()
    folder.undo()
    assert state(folder) == before


def test_a_confirmed_tag_that_no_model_saw_is_written(folder: WrittenFolder) -> None:
    path = folder.draw("grey.jpg", None)
    folder.tag()
    assert folder.write() == {}
    folder.judge("grey.jpg", GATE, Word.CONFIRMED)
    assert folder.write() == {"grey.jpg": "written"}
    assert keywords(path) == [GATE_NAME]


def test_another_models_words_replace_ours_and_only_ours(folder: WrittenFolder, tmp_path: Path) -> None:
    path = owned(folder, "a.jpg")
    before = state(folder)
    folder.tag()
    folder.write()
    renamed = [
        label.model_copy(update={"slug": f"new-{label.slug}", "name": f"New {label.name}"})
        for label in LABELS
    ]
    tiny_artifact(tmp_path / "other.pt", renamed, name="other")
    folder.tag(model=add_model(folder.database, tmp_path / "other.pt"))
    assert folder.write() == {"a.jpg": "written"}
    assert keywords(path) == ["holiday", f"New {EIFFEL_NAME}"]
    folder.undo()
    assert state(folder) == before


# --- Positions and descriptions.


def test_a_position_is_written_where_there_is_none_and_only_if_asked(folder: WrittenFolder) -> None:
    plain = folder.draw("a.jpg")
    located = folder.draw("b.jpg", shade=1)
    block = Image.Exif()
    block.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (4.0, 5.0, 6.0)})
    Image.open(located).save(located, quality=90, exif=block)
    before = state(folder)
    folder.tag()
    folder.write()
    assert "EXIF:GPSLatitude" not in photo_fields(plain.read_bytes())
    folder.write(WriteAsked(Target.EMBED, gps=True))
    fields = photo_fields(plain.read_bytes())
    assert float(str(fields["EXIF:GPSLatitude"])) == pytest.approx(48.8584, abs=1e-5)
    assert fields["XMP:exif:GPSProcessingMethod"] == "landmark-tagger"
    theirs = photo_fields(located.read_bytes())
    assert float(str(theirs["EXIF:GPSLatitude"])) == pytest.approx(1.0341667, abs=1e-5)
    assert "XMP:exif:GPSLatitude" not in theirs
    assert set(folder.write().values()) <= {"written", "unchanged"}  # not asked any more: it goes again
    assert "EXIF:GPSLatitude" not in photo_fields(plain.read_bytes())
    folder.undo()
    assert state(folder) == before


@pytest.mark.parametrize("extent", ["area", "line", "multi", None])
def test_what_is_no_point_on_the_map_is_no_position(folder: WrittenFolder, extent: str | None) -> None:
    path = folder.draw("a.jpg")
    folder.tag()
    with folder.database.write() as connection:
        connection.execute(update(landmarks).where(landmarks.c.slug == EIFFEL).values(extent=extent))
    folder.write(WriteAsked(Target.EMBED, gps=True))
    assert keywords(path) == [EIFFEL_NAME]
    assert not [name for name in photo_fields(path.read_bytes()) if "GPSLatitude" in name]


def test_a_description_is_written_where_there_is_none(folder: WrittenFolder) -> None:
    empty, full = owned(folder, "a.jpg"), owned(folder, "b.jpg", more=DESCRIBED)
    before = state(folder)
    folder.tag()
    folder.write(WriteAsked(Target.EMBED, description=True))
    assert photo_fields(empty.read_bytes())["XMP:dc:description"] == "Eiffel Tower, Paris, France"
    assert photo_fields(full.read_bytes())["XMP:dc:description"] == "My aunt"
    folder.undo()
    assert state(folder) == before


# --- Taking back.


def test_what_one_job_wrote_what_is_at_a_place_and_everything_is_taken_back(folder: WrittenFolder) -> None:
    for name in ("one/a.jpg", "one/b.jpg", "two/c.jpg"):
        owned(folder, name)
    before = state(folder)
    folder.tag()
    folder.write(query=PhotoQuery(under=(folder.folder / "one",)))
    job = folder.latest().job
    folder.write(query=PhotoQuery(under=(folder.folder / "two",)))
    written = state(folder)
    assert folder.undo(folder.folder / "one" / "a.jpg") == {"one/a.jpg": "written"}
    assert folder.undo(job=job) == {"one/b.jpg": "written"}
    assert state(folder) == {**before, "two/c.jpg": written["two/c.jpg"]}
    assert folder.undo() == {"two/c.jpg": "written"}
    assert state(folder) == before
    assert folder.undo() == {}
    assert folder.kept == []


@pytest.mark.parametrize("edit", [edited, exiftool])
@pytest.mark.parametrize("target", [Target.EMBED, Target.SIDECAR])
def test_what_somebody_else_wrote_in_between_stays(
    folder: WrittenFolder, edit: object, target: Target
) -> None:
    path = owned(folder, "a.jpg")
    folder.tag()
    folder.write(WriteAsked(target))
    file = path if target is Target.EMBED else path.with_name("a.jpg.xmp")
    if target is Target.SIDECAR and edit is edited:
        file.write_bytes(file.read_bytes().replace(b"</rdf:Bag>", b"<rdf:li>ours</rdf:li></rdf:Bag>", 1))
    else:
        edit(file, "ours")  # type: ignore[operator]
    folder.judge("a.jpg", GATE, Word.CONFIRMED)
    folder.write(WriteAsked(target))
    assert keywords(file) == ["holiday", "ours", EIFFEL_NAME, GATE_NAME]
    assert folder.undo() == {"a.jpg": "written"}
    assert keywords(file) == ["holiday", "ours"]
    data = file.read_bytes()
    assert not is_ours(read_blocks(data).xmp if target is Target.EMBED else data)
    assert b"Eiffel" not in data


def test_a_sidecar_of_the_owners_in_either_naming_is_kept_right_and_restored(folder: WrittenFolder) -> None:
    for name in ("a.jpg", "b.jpg"):
        owned(folder, name)
    (folder.folder / "a.jpg.xmp").write_text(OWNERS % DESCRIBED)
    (folder.folder / "b.xmp").write_text(OWNERS % "")
    before = state(folder)
    folder.tag()
    folder.write()
    assert state(folder).keys() == before.keys()
    for name in ("a.jpg.xmp", "b.xmp"):
        assert keywords(folder.folder / name) == ["holiday", EIFFEL_NAME]
    folder.undo()
    assert state(folder) == before


def test_a_written_photo_that_was_moved_is_known_and_taken_back_exactly(folder: WrittenFolder) -> None:
    path = owned(folder, "a.jpg")
    original = path.read_bytes()
    folder.tag()
    folder.write()
    (folder.folder / "moved").mkdir()
    path.rename(folder.folder / "moved" / "b.jpg")
    folder.tag()
    assert folder.write() == {"moved/b.jpg": "unchanged"}
    assert folder.undo() == {"moved/b.jpg": "written"}
    assert state(folder) == {"moved/b.jpg": original}
    assert folder.kept == []


def test_copies_of_a_written_photo_are_each_taken_back_exactly(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing_chunk, "BATCH", 1)  # each in a transaction of its own
    path = owned(folder, "a.jpg")
    original = path.read_bytes()
    folder.tag()
    folder.write()
    for name in ("b.jpg", "c.jpg", "d.jpg"):
        shutil.copy2(path, folder.folder / name)
    folder.tag()
    path.unlink()
    folder.tag()
    folder.undo()
    assert state(folder) == {f"{name}.jpg": original for name in "bcd"}
    assert folder.kept == []


def test_a_copy_of_a_photo_that_was_taken_back_first_is_taken_back_exactly(
    folder: WrittenFolder,
) -> None:
    path = owned(folder, "a.jpg")
    original = path.read_bytes()
    folder.tag()
    folder.write()
    shutil.copy2(path, folder.folder / "b.jpg")
    folder.tag()
    assert folder.undo(path) == {"a.jpg": "written"}
    assert folder.undo() == {"a.jpg": "unchanged", "b.jpg": "written"}
    assert state(folder) == {"a.jpg": original, "b.jpg": original}
    assert folder.undo() == {}


def test_what_one_job_wrote_is_not_what_another_wrote_into_copies(folder: WrittenFolder) -> None:
    path = owned(folder, "one/a.jpg")
    original = path.read_bytes()
    for name in ("two", "three"):
        (folder.folder / name).mkdir()
        shutil.copy2(path, folder.folder / name)
    folder.tag()
    folder.write(query=PhotoQuery(under=(folder.folder / "one",)))
    job = folder.latest().job
    folder.write(query=PhotoQuery(under=(folder.folder / "two",)))
    written = state(folder)
    assert folder.undo(job=job)["one/a.jpg"] == "written"
    assert state(folder) == {**written, "one/a.jpg": original}
    path.rename(folder.folder / "one" / "moved.jpg")
    (folder.folder / "two" / "a.jpg").rename(folder.folder / "two" / "moved.jpg")
    folder.tag()
    assert folder.undo(job=folder.kept[0].job_id)["two/moved.jpg"] == "written"
    assert set(state(folder).values()) == {original}


def test_sidecars_that_were_copied_or_removed_by_hand_are_settled(folder: WrittenFolder) -> None:
    for name in ("a.jpg", "b.jpg"):
        owned(folder, name)
    before = state(folder)
    folder.tag()
    folder.write(SIDECAR)
    for name in ("a.jpg", "a.jpg.xmp"):
        shutil.copy2(folder.folder / name, folder.folder / f"copy-of-{name}")
    (folder.folder / "b.jpg.xmp").unlink()
    folder.tag()
    assert folder.undo() == {"a.jpg": "written", "b.jpg": "unchanged", "copy-of-a.jpg": "written"}
    assert state(folder) == {**before, "copy-of-a.jpg": before["a.jpg"]}
    assert folder.kept == []


def test_a_photo_that_was_forgotten_is_taken_back_exactly(folder: WrittenFolder) -> None:
    paths = [owned(folder, name) for name in ("a.jpg", "b.jpg")]
    before = state(folder)
    folder.tag()
    folder.write(SIDECAR)
    folder.write()
    for path in paths:
        forget_path(folder.database, path, folder.settings.roots)
    (first,) = plan_unknown(folder.database, folder.settings, [paths[0]])
    assert "taken out of" in undo_unknown(folder.database, first)
    assert paths[0].read_bytes() == before["a.jpg"]
    folder.tag()
    folder.undo()
    assert state(folder) == before


def test_without_what_was_kept_our_words_go_all_the_same(folder: WrittenFolder) -> None:
    path = owned(folder, "a.jpg")
    folder.tag()
    folder.write()
    with folder.database.write() as connection:
        connection.execute(delete(metadata_writes))
    (previewed,) = plan_unknown(folder.database, folder.settings, [path])
    undo_unknown(folder.database, previewed)
    assert keywords(path) == ["holiday"]
    assert not is_ours(read_blocks(path.read_bytes()).xmp)


def test_a_sidecar_beside_an_embedded_photo_is_right_the_first_time(folder: WrittenFolder) -> None:
    path = folder.draw("a.jpg")
    before = state(folder)
    folder.tag()
    folder.write(SIDECAR)
    asked = WriteAsked(Target.EMBED, gps=True, description=True)
    assert folder.write(asked) == {"a.jpg": "written"}
    beside = path.with_name("a.jpg.xmp").read_bytes()
    assert xmp_fields(beside)["XMP:dc:description"] == "Eiffel Tower, Paris, France"
    assert folder.write(asked) == {"a.jpg": "unchanged"}
    assert path.with_name("a.jpg.xmp").read_bytes() == beside
    folder.undo()
    assert state(folder) == before


def test_taking_back_a_job_leaves_what_another_wrote_of_the_same_photo(folder: WrittenFolder) -> None:
    path = folder.draw("a.jpg")
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a while")
def test_where_the_owner_could_not_be_kept_the_tags_go_into_a_sidecar() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / "a.jpg"
        draw_photo(3, (64, 48)).save(photo)
        before = photo.read_bytes()
        os.chown(folder, 65534, 65534)
        os.chown(photo, 65534, 0)  # a group that this user is not in
        additions = additions_for([NamedLandmark(EIFFEL, EIFFEL_NAME)])
        wanted = PhotoToWrite(photo, None, additions, Target.EMBED, frozenset(), 10**6)
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)
        try:
            ready = ready_photo(wanted, lambda _written: None)
            ready.put_in_place()
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
        assert ready.outcome == "refused"
        assert photo.read_bytes() == before
        assert keywords(folder / "a.jpg.xmp") == [EIFFEL_NAME]
