"""A RAW file and its JPEG are one photo, whose tags are written for both files."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select, text
from support.colour_folders import EIFFEL, GATE
from support.databases import query_plans
from support.raw_pairs import PairFolder
from support.written_folder import EMBED, SIDECAR, SIDECAR_OF_USER

from tagger.database import VerdictKind
from tagger.database.connection import open_database
from tagger.database.diagnostics import database_stats
from tagger.database.statements import lock_timeout
from tagger.database.tables import photos
from tagger.jobs.enqueue.selection import preview_scan, select_paths
from tagger.jobs.processing.metadata_preview import preview_photos
from tagger.ledger import InferenceOptions
from tagger.query.counts import landmark_counts
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.raw_pairs import pair_files
from tagger.roots import forget_path, list_roots
from tagger.tags import lock_contents
from tagger.verdicts import star_photos


@pytest.fixture
def folder(database, tmp_path) -> PairFolder:
    return PairFolder(database, tmp_path)


def test_a_pair_is_classified_counted_and_shown_once(folder):
    folder.draw_raw("IMG_1.CR3", 1)
    jpeg = folder.draw("IMG_1.jpg", 0)
    folder.draw("IMG_1-edited.jpg", 1)
    folder.draw_raw("IMG_2.dng", 1, shade=1)
    job = folder.record()
    assert (folder.report.found, folder.report.new) == (3, 3)
    assert folder.run(job).total == 3
    assert folder.outcomes(job) == {
        "IMG_1.jpg": "tagged",
        "IMG_1-edited.jpg": "tagged",
        "IMG_2.dng": "tagged",
    }
    assert folder.found() == {"IMG_1.jpg": [EIFFEL], "IMG_1-edited.jpg": [GATE], "IMG_2.dng": [GATE]}
    counts = {count.landmark: count.photos for count in landmark_counts(folder.database)}
    assert counts == {EIFFEL: 1, GATE: 2}
    assert [photo.files for photo in find_tagged(folder.database, PhotoQuery(landmark=EIFFEL))] == [2]
    stats = database_stats(folder.database)
    counts = [stats[name] for name in ("photos", "not_classified", "gone", "failing")]
    assert counts == [3, 0, 0, 0]
    for name in ("IMG_1.CR3", "IMG_1.jpg"):
        details = photo_details(folder.database, folder.folder / name)
        assert details.photo.path == str(jpeg)
        assert details.raw_files == (str(folder.folder / "IMG_1.CR3"),)
        assert details.copies == ()
        assert folder.found(under=(folder.folder / name,)) == {"IMG_1.jpg": [EIFFEL]}
    assert folder.found(untagged=True) == {}


def test_a_pair_that_was_classified_is_skipped_as_one_photo(folder):
    raw, jpeg = folder.draw_raw("IMG_1.CR3"), folder.draw("IMG_1.JPG")
    folder.tag()
    assert folder.tag() == {"IMG_1.JPG": "skipped"}
    assert (folder.report.found, folder.report.new, folder.report.changed) == (1, 0, 0)
    assert folder.tag(raw) == {"IMG_1.JPG": "skipped"}
    assert folder.tag(raw, jpeg) == {"IMG_1.JPG": "skipped"}
    assert folder.tag(include=("*.CR3",)) == {"IMG_1.JPG": "skipped"}
    inference = InferenceOptions(folder.model.id, 3, 0.5, reprocess=False)
    assert preview_scan(folder.database, select_paths([folder.folder]), inference, {})[:2] == (1, 1)
    assert folder.unseen() == []


@pytest.mark.parametrize(
    "order", [("IMG_1.CR3", "IMG_1.JPG"), pytest.param(("IMG_1.JPG", "IMG_1.CR3"), marks=pytest.mark.slow)]
)
def test_files_that_come_one_after_the_other_become_one_photo(folder, order):
    files = {
        "IMG_1.CR3": lambda: folder.draw_raw("IMG_1.CR3", 1),
        "IMG_1.JPG": lambda: folder.draw("IMG_1.JPG", 0),
    }
    files[order[0]]()
    folder.tag()
    folder.judge(order[0], GATE, VerdictKind.CONFIRMED)
    second = files[order[1]]()
    folder.tag(second)
    assert folder.primary_files() == {"IMG_1.CR3": "IMG_1.JPG"}
    assert folder.verdicts_of("IMG_1.CR3") == folder.verdicts_of("IMG_1.JPG") == {(GATE, "confirmed")}
    assert folder.found() == {"IMG_1.JPG": [GATE]}
    assert database_stats(folder.database)["photos"] == 1


def test_a_raw_file_keeps_the_verdicts_when_its_jpeg_is_gone(folder):
    folder.draw_raw("IMG_1.CR3", 1)
    jpeg = folder.draw("IMG_1.JPG", 0)
    folder.tag()
    folder.judge("IMG_1.CR3", GATE, VerdictKind.CONFIRMED)
    star_photos(folder.database, [folder.photo("IMG_1.JPG").id], "ada", starred=True)
    jpeg.unlink()
    assert folder.unseen() == ["IMG_1.CR3"]
    assert folder.primary_files() == {}
    assert folder.found() == folder.found(favourite=True) == {"IMG_1.CR3": [GATE]}
    assert folder.tag() == {"IMG_1.CR3": "tagged"}
    assert folder.found() == {"IMG_1.CR3": [GATE]}
    assert folder.verdicts_of("IMG_1.CR3") == {(GATE, "confirmed")}
    folder.draw("IMG_1.JPG", 0)
    folder.tag()
    assert folder.primary_files() == {"IMG_1.CR3": "IMG_1.JPG"}
    assert folder.found() == {"IMG_1.JPG": [GATE]}


def test_outcomes_of_earlier_jobs_are_those_of_the_image_that_a_raw_file_gets(folder):
    folder.draw_raw("IMG_1.CR3")
    job = folder.record(threshold=1.0)
    folder.run(job)
    assert folder.outcomes(job) == {"IMG_1.CR3": "unknown"}
    jpeg = folder.draw("IMG_1.JPG", 0)
    folder.tag()
    jpeg.unlink()
    folder.unseen()
    assert folder.outcomes(job) == {"IMG_1.CR3": "tagged"}


def assert_locked_in_order(folder: PairFolder, images: list[int]) -> None:
    """Tag the folder, which changes these images while one is locked: it locks none behind that one."""
    first, *others = sorted(images)
    assert images[0] != first, "the test shows nothing: the order of the photos is that of their images"
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor() as pool:
        with folder.database.write() as connection:
            lock_contents(connection, [first])
            tagged = pool.submit(folder.tag)
            while not connection.scalar(waits):
                assert not tagged.done()
                time.sleep(0.01)
            with folder.database.write() as other, lock_timeout(other, 1.0):
                lock_contents(other, others)
        tagged.result()
    assert folder.primary_files() == {"a.CR3": "a.jpg", "b.CR3": "b.jpg"}


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_job_locks_images_that_get_the_verdicts_of_raw_files_in_order(folder):
    """Workers that lock them in different orders would wait for each other."""
    jpegs = []
    for shade, name in enumerate("ab"):
        folder.draw_raw(f"{name}.CR3", 1, shade=shade)
        jpegs.append(folder.draw(f"known/{name}.jpg", 0, shade=shade))
    folder.tag()
    # The first photo gets the image with the higher number.
    jpegs.sort(key=lambda jpeg: -folder.photo(f"known/{jpeg.name}").content_id)
    for name, jpeg in zip("ab", jpegs, strict=True):
        shutil.copy(jpeg, folder.folder / f"{name}.jpg")
    assert_locked_in_order(folder, [folder.photo(f"known/{jpeg.name}").content_id for jpeg in jpegs])


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_scan_locks_images_that_get_the_verdicts_of_raw_files_in_order(folder, apart):
    for shade, name in enumerate("ab"):
        apart.draw_raw(f"{name}.CR3", 1, shade=shade)
        apart.draw(f"{name}.jpg", 0, shade=shade)
    apart.tag()
    assert_locked_in_order(folder, [folder.photo(f"{name}.jpg").content_id for name in "ab"])


def test_a_jpeg_is_the_same_photo_without_its_raw_file(folder):
    raw = folder.draw_raw("IMG_1.CR3", 1)
    folder.draw("IMG_1.JPG", 0)
    folder.tag()
    raw.unlink()
    assert folder.tag() == {"IMG_1.JPG": "skipped"}
    assert [photo.files for photo in find_tagged(folder.database, PhotoQuery())] == [1]
    assert folder.found() == {"IMG_1.JPG": [EIFFEL]}
    assert photo_details(folder.database, folder.folder / "IMG_1.JPG").raw_files == ()


def test_a_renamed_pair_stays_one_photo_with_its_verdicts(folder):
    raw, jpeg = folder.draw_raw("IMG_1.CR3", 1), folder.draw("IMG_1.JPG", 0)
    folder.tag()
    folder.judge("IMG_1.CR3", GATE, VerdictKind.CONFIRMED)
    raw.rename(folder.folder / "tower.CR3")
    jpeg.rename(folder.folder / "tower.JPG")
    assert folder.tag() == {"tower.JPG": "tagged"}
    assert folder.found() == {"tower.JPG": [GATE]}
    (folder.folder / "tower.CR3").rename(folder.folder / "other.CR3")
    assert folder.tag() == {"tower.JPG": "skipped", "other.CR3": "tagged"}
    assert folder.found() == {"tower.JPG": [GATE], "other.CR3": [GATE]}


def test_a_pair_changes_and_fails_as_its_jpeg_does(folder):
    folder.draw_raw("IMG_1.CR3", 1)
    folder.draw("IMG_1.JPG", 0)
    folder.tag()
    folder.draw_raw("IMG_1.CR3", 0, shade=9)
    assert folder.tag() == {"IMG_1.JPG": "skipped"}
    folder.draw("IMG_1.JPG", 1, shade=9)
    assert folder.tag() == {"IMG_1.JPG": "tagged"}
    assert folder.found() == {"IMG_1.JPG": [GATE]}
    (folder.folder / "IMG_1.JPG").write_bytes(b"")
    assert folder.tag() == {"IMG_1.JPG": "failed"}
    assert [failing.kind for failing in folder.failing()] == ["empty"]
    folder.draw("IMG_1.JPG", 0)
    assert folder.tag() == {"IMG_1.JPG": "tagged"}
    assert folder.found() == {"IMG_1.JPG": [EIFFEL]}


@pytest.mark.postgresql
def test_files_of_one_stem_are_joined_across_pages_and_folders_between_them(folder, monkeypatch):
    monkeypatch.setattr("tagger.jobs.enqueue.selection.PAGE", 2)
    for name in ("a.CR3", "a.D/a.CR3"):
        folder.draw_raw(name, shade=len(name))
    for shade, name in enumerate(("a.D/a.JPG", "a.D/b.jpg", "a.D/c.jpg", "a.b.jpg", "a.jpg", "a-b.jpg")):
        folder.draw(name, shade=shade)
    for _ in range(2):
        folder.record()
        assert folder.primary_files() == {"a.CR3": "a.jpg", "a.D/a.CR3": "a.D/a.JPG"}
        assert folder.report.found == 6
    assert folder.report.new == 0


@pytest.fixture
def apart(folder) -> Iterator[PairFolder]:
    """The same folder, for a process with the setting off."""
    url = folder.settings.database_url
    assert url is not None
    database = open_database(url, raw_pairs=False)
    view = PairFolder.__new__(PairFolder)
    view.__dict__ = folder.__dict__ | {
        "database": database,
        "settings": folder.settings.model_copy(update={"raw_pairs": False}),
    }
    yield view
    database.close()


def test_the_setting_makes_each_file_a_photo_of_its_own(folder, apart):
    folder.draw_raw("IMG_1.CR3", 1)
    folder.draw("IMG_1.JPG", 0)
    inference = InferenceOptions(folder.model.id, 3, 0.5, reprocess=False)
    selection = select_paths([folder.folder])
    assert apart.tag() == {"IMG_1.CR3": "tagged", "IMG_1.JPG": "tagged"}
    assert apart.found() == {"IMG_1.CR3": [GATE], "IMG_1.JPG": [EIFFEL]}
    assert folder.unseen() == ["IMG_1.CR3"]
    folder.judge("IMG_1.CR3", GATE, VerdictKind.CONFIRMED)
    assert folder.tag() == {"IMG_1.JPG": "skipped"}
    assert folder.found() == {"IMG_1.JPG": [GATE]}
    assert apart.unseen() == ["IMG_1.CR3"]
    assert preview_scan(apart.database, selection, inference, {})[:2] == (2, 1)
    assert apart.tag() == {"IMG_1.CR3": "tagged", "IMG_1.JPG": "skipped"}
    assert apart.found() == {"IMG_1.CR3": [GATE], "IMG_1.JPG": [GATE]}
    assert folder.verdicts_of("IMG_1.CR3") == {(GATE, "confirmed")}


def test_an_item_of_a_raw_file_is_skipped_if_its_jpeg_came_after_the_job(folder):
    folder.draw_raw("IMG_1.CR3", 1)
    early = folder.record()
    folder.draw("IMG_1.JPG", 0)
    late = folder.record()
    folder.run(early)
    folder.run(late)
    assert folder.outcomes(early) == {"IMG_1.CR3": "skipped"}
    assert folder.outcomes(late) == {"IMG_1.JPG": "tagged"}
    assert folder.found() == {"IMG_1.JPG": [EIFFEL]}


def test_either_file_removes_the_photo_from_the_database(folder):
    for name in ("IMG_1", "IMG_2"):
        folder.draw_raw(f"{name}.CR3")
        folder.draw(f"{name}.JPG")
    folder.draw("IMG_3.JPG", 1)
    folder.record()
    assert forget_path(folder.database, folder.folder / "IMG_1.CR3", {}) == 2
    assert forget_path(folder.database, folder.folder / "IMG_2.JPG", {}) == 2
    assert folder.count(photos) == 1


def test_the_video_of_a_live_photo_is_not_counted(folder):
    folder.draw("IMG_1.JPG")
    for name in ("IMG_1.MOV", "IMG_2.mov"):
        (folder.folder / name).write_bytes(b"a video")
    assert folder.tag() == {"IMG_1.JPG": "tagged"}
    assert (folder.report.found, folder.report.problems) == (1, [])


@pytest.mark.postgresql
def test_other_files_are_looked_up_before_the_database_has_statistics(folder):
    """PostgreSQL makes them a minute after the first photos."""
    folder.draw("IMG_1.jpg", 0)
    folder.record()
    with folder.database.write() as connection:
        root = list_roots(connection, {})[0]
        new = {"root_id": root.id, "path_bytes": b"", "size_bytes": 1, "mtime_ns": 1}
        connection.execute(insert(photos), [new | {"path": f"{number:05}.jpg"} for number in range(1000)])
        rows = connection.execute(select(photos).limit(1000)).all()
        with query_plans(folder.database, "AS stem") as plans:
            pair_files(connection, root, rows)
    assert len(plans) == 1
    # Along the index: "Index Cond: … (path < …)", or "USING INDEX … path<?".
    assert "path<" in plans[0] or "path <" in plans[0]


@pytest.fixture
def pairs(database, tmp_path) -> PairFolder:
    pairs = PairFolder(database, tmp_path)
    pairs.draw_raw("IMG_1.CR3")  # near the Eiffel Tower, by its GPS position
    pairs.draw("IMG_1.JPG", 0)
    return pairs


@pytest.mark.parametrize(
    ("options", "own", "written"),
    [
        (SIDECAR, "IMG_1.xmp", {"IMG_1.xmp", "IMG_1.JPG.xmp"}),
        (EMBED, None, {"IMG_1.CR3.xmp", "IMG_1.JPG"}),
    ],
)
def test_tags_are_written_for_both_files_and_undone_in_both(pairs, options, own, written):
    if own is not None:
        (pairs.folder / own).write_text(SIDECAR_OF_USER)
    pairs.tag()
    before = pairs.files()
    assert pairs.write(options) == {"IMG_1.JPG": "written"}
    after = pairs.files()
    assert {name for name, data in after.items() if data != before.get(name)} == written
    assert all(b"Eiffel" in after[name] for name in written)
    assert pairs.write(options) == {"IMG_1.JPG": "unchanged"}
    assert pairs.tag() == {"IMG_1.JPG": "skipped"}
    assert pairs.undo(pairs.folder / "IMG_1.CR3") == {"IMG_1.JPG": "written"}
    assert pairs.files() == before
    assert pairs.undo_rows == []


def test_a_preview_names_both_files_and_a_deleted_raw_file_keeps_nothing_from_being_written(pairs):
    pairs.tag()
    photo_id = pairs.photo("IMG_1.JPG").id
    (preview,) = preview_photos(pairs.database, pairs.settings, [photo_id], EMBED)
    assert [file.original.path.name for file in preview.plan.files] == ["IMG_1.JPG", "IMG_1.CR3.xmp"]
    (pairs.folder / "IMG_1.CR3").unlink()
    assert pairs.write(SIDECAR) == {"IMG_1.JPG": "written"}
    assert set(pairs.files()) == {"IMG_1.JPG", "IMG_1.JPG.xmp"}


def test_sidecars_are_undone_after_a_file_was_added_or_deleted(pairs):
    jpeg = pairs.folder / "IMG_1.JPG"
    drawn = jpeg.read_bytes()
    jpeg.unlink()
    pairs.tag()
    before = pairs.files()
    pairs.write(SIDECAR)
    jpeg.write_bytes(drawn)  # the RAW file was written alone
    pairs.tag()
    assert pairs.undo() == {"IMG_1.JPG": "written"}
    assert pairs.files() == before | {"IMG_1.JPG": drawn}
    pairs.write(SIDECAR)
    assert set(pairs.files()) == {"IMG_1.CR3", "IMG_1.JPG", "IMG_1.CR3.xmp", "IMG_1.JPG.xmp"}
    jpeg.unlink()  # both were written
    pairs.tag()
    assert pairs.undo() == {"IMG_1.CR3": "written", "IMG_1.JPG": "written"}
    assert set(pairs.files()) == {"IMG_1.CR3"}


def test_a_rejected_tag_is_removed_from_both(pairs):
    pairs.tag()
    pairs.write(SIDECAR)
    pairs.judge("IMG_1.CR3", GATE, VerdictKind.CONFIRMED)
    pairs.judge("IMG_1.JPG", "eiffel-tower", VerdictKind.REJECTED)
    assert pairs.write(SIDECAR) == {"IMG_1.JPG": "written"}
    for name in ("IMG_1.CR3.xmp", "IMG_1.JPG.xmp"):
        data = pairs.files()[name]
        assert b"Brandenburg" in data
        assert b"Eiffel" not in data


@pytest.mark.parametrize(("options", "existing"), [(SIDECAR, None), (EMBED, SIDECAR_OF_USER)])
def test_a_sidecar_that_may_be_of_two_photos_stays_as_it_is(database, tmp_path, options, existing):
    pairs = PairFolder(database, tmp_path)
    pairs.draw("a.jpg", 1)
    pairs.draw_raw("a.jpg.cr3", 0)
    if existing is not None:
        (pairs.folder / "a.jpg.xmp").write_text(existing)
    pairs.tag()
    before = pairs.files()
    outcomes = pairs.write(options)
    after = pairs.files()
    assert b"Brandenburg" not in after["a.jpg.cr3.xmp"]
    # Embedding needs no sidecar, if there is none that would hide what is in the photo.
    refused = "refused" if options == SIDECAR or existing else "written"
    assert outcomes == {"a.jpg": refused, "a.jpg.cr3": "refused" if options == EMBED else "written"}
    if refused == "refused":
        assert {name: after[name] for name in before} == before
        _outcome, reason, text = pairs.reasons(pairs.latest().job)["a.jpg"]
        assert reason == "sidecar"
        assert "a.jpg.xmp may also be that of a.jpg.cr3" in str(text)
    pairs.undo()
    assert pairs.files() == before


def test_a_sidecar_from_before_the_raw_file_came_is_undone_and_gets_nothing_more(database, tmp_path):
    pairs = PairFolder(database, tmp_path)
    pairs.draw("a.jpg", 1)
    pairs.tag()
    before = pairs.files()
    pairs.write(SIDECAR)
    written = pairs.files()
    pairs.draw_raw("a.jpg.cr3", 0)
    raw = {"a.jpg.cr3": (pairs.folder / "a.jpg.cr3").read_bytes()}
    pairs.tag()
    pairs.judge("a.jpg", "eiffel-tower", VerdictKind.CONFIRMED)
    assert pairs.write(SIDECAR) == {"a.jpg": "refused", "a.jpg.cr3": "written"}
    after = pairs.files()
    assert {name: after[name] for name in written} == written
    pairs.undo()
    assert pairs.files() == before | raw
