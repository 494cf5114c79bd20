"""What the page of a photo says in each of the states that a photo can be in."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.written_folder import WrittenFolder

from tagger.database.connection import Database
from tagger.database.enums import Runner
from tagger.database.tables import photos


@pytest.fixture
def folder(web_database: Database, tmp_path: Path) -> WrittenFolder:
    (tmp_path / "work").mkdir()
    return WrittenFolder(web_database, tmp_path / "work")


def page_of(client: TestClient, folder: WrittenFolder, name: str) -> str:
    with folder.database.read() as connection:
        number = connection.scalar(select(photos.c.id).where(photos.c.path == name))
    answer = client.get(f"/photos/{number}/details")
    assert answer.status_code == 200
    return answer.text


def test_copies_are_named(client: TestClient, library: LibraryPhotos) -> None:
    for n in range(8):
        library.file(f"copy-{n}.jpg", (EIFFEL, 0.9, True), data=picture())
    page = client.get("/photos/1/details").text.replace("<wbr>", "")
    for n in range(1, 6):
        assert str(library.root / f"copy-{n}.jpg") in page
    assert "copy-6.jpg" not in page
    assert "and 2 more" in page


def test_a_job_that_has_still_to_look_at_it_is_named(client: TestClient, folder: WrittenFolder) -> None:
    folder.draw("a.jpg")
    job = folder.record(runner=Runner.WORKERS)
    page = page_of(client, folder, "a.jpg")
    assert "Not processed yet" in page
    assert f'A <a href="/jobs/{job}">job</a> will process it' in page
    assert "data-name-another" not in page  # it is not processed yet
    folder.work(job)
    page = page_of(client, folder, "a.jpg")
    assert "will process it" not in page
    assert f'<a href="/jobs/{job}">Job {job}</a>: tagged' in page
    again = folder.record_to_write(None, runner=Runner.WORKERS, reprocess=True)
    page = page_of(client, folder, "a.jpg")
    assert f'<dt>Waiting</dt><dd><a href="/jobs/{again}">' in page  # it is classified: this is only a fact
    assert "notice--open" not in page


def test_a_failed_photo_shows_the_reason(client: TestClient, folder: WrittenFolder) -> None:
    whole = folder.draw("a.jpg").read_bytes()
    (folder.folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    folder.tag()
    page = page_of(client, folder, "cut.jpg")
    assert "Could not be processed" in page
    assert "data-name-another" not in page
    assert "data-name-another" in page_of(client, folder, "a.jpg")
    assert "The file ends before the image does." in page
    assert "Could not be processed" not in page_of(client, folder, "a.jpg")


def test_a_photo_on_an_unavailable_disk_accepts_verdicts(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    assert "is not available" not in client.get(f"/photos/{number}/details").text
    shutil.move(library.root, library.root.with_name("elsewhere"))
    page = client.get(f"/photos/{number}/details").text
    assert f"The folder {library.root} is not available. Mount the disk" in page
    assert "Confirm" in page


def test_a_missing_file_is_reported(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    library.file("b.jpg", (GATE, 0.9, True))
    (library.root / "a.jpg").unlink()
    assert "The file no longer exists" in client.get(f"/photos/{number}/details").text
    library.gone("a.jpg")
    assert "<dt>Gone</dt><dd>since 1 March 2026<" in client.get(f"/photos/{number}/details").text
