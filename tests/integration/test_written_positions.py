"""Estimated positions in metadata: written as estimates, never read back as measurements, and taken back exactly."""

import os
from pathlib import Path

import pytest
from rig.xmp_packets import packet_of
from sqlalchemy import delete, select, update
from support.camera_photos import draw_shot
from support.databases import execute, read_rows
from support.written_folder import WrittenFolder

from tagger.database import Runner, Target
from tagger.database.tables import photos, positions
from tagger.jobs.enqueue.metadata_jobs import fill_chained_jobs
from tagger.jobs.enqueue.submission import MAX_ERROR_M, MetadataOptions
from tagger.kept.update import update_kept
from tagger.metadata.photo_files import photo_fields, xmp_fields
from tagger.roots import forget_path

EMBED = MetadataOptions(Target.EMBED, max_error_m=MAX_ERROR_M)
SIDECAR = MetadataOptions(Target.SIDECAR, max_error_m=MAX_ERROR_M)
PARIS, NEAR_PARIS = (48.8584, 2.2945), (48.8606, 2.3376)

FOREIGN_SIDECAR = packet_of("", 'exif:GPSLatitude="48,51.0N" exif:GPSLongitude="2,21.0E"')


@pytest.fixture
def folder(database, tmp_path) -> WrittenFolder:
    """Photos of a walk: with GPS, between them, of a landmark, and of another day."""
    folder = WrittenFolder(database, tmp_path)
    draw_shot(folder.folder / "first.jpg", 0, gps=PARIS)
    draw_shot(folder.folder / "between.jpg", 5)
    draw_shot(folder.folder / "last.jpg", 10, gps=NEAR_PARIS)
    draw_shot(folder.folder / "tower.jpg", 2000, label=0)
    draw_shot(folder.folder / "lonely.jpg", 9000)
    folder.tag()
    return folder


def sources(folder: WrittenFolder) -> dict[str, tuple[str, float]]:
    """The source and latitude of each photo's position, once they are up to date."""
    update_kept(folder.database)
    query = select(photos.c.path, positions).join(positions, positions.c.photo_id == photos.c.id)
    rows = read_rows(folder.database, query.where(photos.c.gone_since.is_(None)))
    return {row.path: (row.source, round(row.latitude, 5)) for row in rows}


def latitude(path: Path) -> float | None:
    text = photo_fields(path.read_bytes()).get("EXIF:GPSLatitude")
    return None if text is None else round(float(str(text)), 5)


def test_estimates_are_written_as_estimates(folder):
    before = folder.files()
    assert folder.write(EMBED) == {"between.jpg": "written", "tower.jpg": "written"}
    assert {name for name, data in folder.files().items() if data != before[name]} == {
        "between.jpg",
        "tower.jpg",
    }
    fields = photo_fields((folder.folder / "between.jpg").read_bytes())
    assert fields["XMP:exif:GPSProcessingMethod"] == "landmark-tagger neighbour"
    assert latitude(folder.folder / "between.jpg") == pytest.approx(48.8595, abs=1e-4)
    tower = photo_fields((folder.folder / "tower.jpg").read_bytes())
    assert tower["XMP:exif:GPSProcessingMethod"] == "landmark-tagger landmark"
    assert tower["XMP:exif:GPSHPositioningError"] == "300/1"
    assert set(folder.write(EMBED).values()) == {"unchanged"}
    folder.undo()
    assert folder.files() == before


def test_written_positions_are_no_evidence(folder):
    """Neither after a change of the file, nor if the database has never seen the photos before."""
    expected = sources(folder)
    assert {name: source for name, (source, _) in expected.items()} == {
        "first.jpg": "camera",
        "between.jpg": "neighbour",
        "last.jpg": "camera",
        "tower.jpg": "landmark",
    }
    folder.write(EMBED)
    for path in folder.folder.iterdir():
        os.utime(path)
    folder.tag(reprocess=True)
    assert sources(folder) == expected
    forget_path(folder.database, folder.folder, folder.settings.roots)
    folder.tag()
    assert sources(folder) == expected


@pytest.mark.parametrize(
    "options", [EMBED, pytest.param(SIDECAR, marks=pytest.mark.slow)], ids=["embed", "sidecar"]
)
def test_a_position_follows_its_estimate_until_it_is_gone(folder, options):
    before = folder.files()
    path = folder.folder / ("between.jpg" if options is EMBED else "between.jpg.xmp")

    def written() -> object:
        read = photo_fields if options is EMBED else xmp_fields
        return read(path.read_bytes()).get("XMP:exif:GPSLatitude") if path.exists() else None

    folder.write(options)
    first = written()
    assert first is not None
    execute(folder.database, update(positions).where(positions.c.error_m > 300).values(latitude=47.5))
    assert folder.write(options)["between.jpg"] == "written"
    assert written() == "47,30.0000N" != first
    execute(folder.database, delete(positions))
    folder.write(options)
    assert written() is None
    assert folder.files()["between.jpg"] == before["between.jpg"]
    folder.undo()
    assert folder.files() == before


@pytest.mark.parametrize(
    "options", [SIDECAR, pytest.param(EMBED, marks=pytest.mark.slow)], ids=["sidecar", "embed"]
)
def test_a_position_in_another_programs_sidecar_stays_the_only_one(folder, options):
    (folder.folder / "between.jpg.xmp").write_bytes(FOREIGN_SIDECAR)
    (folder.folder / "tower.xmp").write_bytes(FOREIGN_SIDECAR)
    before = folder.files()
    assert folder.write(options) == {"between.jpg": "unchanged", "tower.jpg": "written"}
    after = folder.files()
    assert (after["between.jpg"], after["between.jpg.xmp"]) == (
        before["between.jpg"],
        before["between.jpg.xmp"],
    )
    fields = xmp_fields(after["tower.xmp"])
    assert (fields["XMP:exif:GPSLatitude"], fields["XMP:dc:subject"]) == ("48,51.0N", ["Eiffel Tower"])
    assert "XMP:exif:GPSLatitude" not in photo_fields(after["tower.jpg"])
    folder.undo()
    assert folder.files() == before


def test_positions_that_are_too_vague_are_left_out(folder):
    assert folder.write(MetadataOptions(Target.EMBED, max_error_m=300)) == {"tower.jpg": "written"}
    assert latitude(folder.folder / "tower.jpg") == 48.8584
    vague = MetadataOptions(Target.EMBED, gps=True, max_error_m=299)
    assert folder.write(vague) == {"tower.jpg": "written"}
    assert latitude(folder.folder / "tower.jpg") is None
    folder.write(MetadataOptions(Target.EMBED, gps=True))
    assert latitude(folder.folder / "tower.jpg") == 48.8584


def test_a_job_of_workers_writes_what_its_photos_make_known(folder):
    draw_shot(folder.folder / "new" / "near.jpg", 8900, gps=PARIS)
    draw_shot(folder.folder / "new" / "late.jpg", 8901)
    folder.tag_and_write(SIDECAR, runner=Runner.WORKERS)
    (chained,) = fill_chained_jobs(folder.database)
    folder.work(chained)
    assert folder.outcomes(chained) == {
        "between.jpg": "written",
        "tower.jpg": "written",
        "new/late.jpg": "written",
    }
