"""The archive of selected photos: whole but for photos that cannot be read, with names safe to extract."""

import errno
import io
import os
from pathlib import Path
from zipfile import ZipFile

import httpx2 as httpx
import pytest
from PIL import Image
from support.camera_photos import draw_shot
from support.library_photos import EIFFEL, LibraryPhotos
from support.page_server import LOCAL_URL

from tagger.photos.files import BLOCK_BYTES, OpenFile
from tagger.query.tagged_photos import StoredPhoto
from tagger.web import photo_files
from tagger.web.pages import photo
from tagger.web.photo_files import archive_parts

SIZE_BYTES = 3 * BLOCK_BYTES
YEAR_S = 31_556_952


class FailingFile(io.BytesIO):
    """Content that cannot be read from some block on."""

    def __init__(self, data: bytes, blocks: int) -> None:
        super().__init__(data)
        self._blocks = blocks

    def read(self, size: int | None = -1, /) -> bytes:
        if self._blocks == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._blocks -= 1
        return super().read(size)


def content(name: str) -> bytes:
    return (name.encode() * SIZE_BYTES)[:SIZE_BYTES]


def archive_of(monkeypatch: pytest.MonkeyPatch, *files: tuple[str, io.BytesIO | None, float]) -> ZipFile:
    """The archive of files with these names, contents (None: whole) and times in seconds."""
    opened = {
        n: OpenFile(file or io.BytesIO(content(name)), SIZE_BYTES, int(time_s) * 10**9)
        for n, (name, file, time_s) in enumerate(files)
    }
    monkeypatch.setattr(photo_files, "open_stored", lambda photo: opened[photo.id])
    root = Path("/photos")
    photos = (StoredPhoto(n, root, root / name, SIZE_BYTES, 0, None) for n, (name, *_) in enumerate(files))
    return ZipFile(io.BytesIO(b"".join(archive_parts(photos))))


def test_odd_times_and_shortened_files_are_listed(monkeypatch):
    years = (-9000, 0, 56.5, 139, 250, 200_000)
    archive = archive_of(monkeypatch, *(("a.jpg", None, year * YEAR_S) for year in years))
    first, last = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
    times = [entry.date_time for entry in archive.infolist()]
    assert [*times[:2], *times[3:]] == [first, first, last, last, last]
    assert times[2][0] == 2026
    short = io.BytesIO(content("b")[:1000])
    with archive_of(monkeypatch, ("b.jpg", None, 0), ("b.jpg", short, 0), ("c.jpg", None, 0)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["b.jpg", "1/b.jpg", "c.jpg", "missing.txt"]
        text = archive.read("missing.txt").decode()
    reason = "The file became shorter while it was read."
    assert text == f"1/b.jpg: {reason} The archive has 1000 of its {SIZE_BYTES} bytes.\n"


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_file_that_cannot_be_read_to_its_end_leaves_the_others_whole(blocks, monkeypatch):
    bad = FailingFile(content("b"), blocks)
    with archive_of(monkeypatch, ("a", None, 0), ("b", bad, 0), ("c", None, 0)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a", *["b"] * blocks, "c", "missing.txt"]
        assert [archive.read(name) for name in "ac"] == [content("a"), content("c")]
        text = archive.read("missing.txt").decode()
    assert text.startswith("b: The file cannot be read (input/output error).")
    assert text.endswith(f"The archive has {blocks * BLOCK_BYTES} of its {SIZE_BYTES} bytes.\n")
    assert bad.closed


def test_names_can_be_extracted_everywhere_and_lead_nowhere(monkeypatch):
    short = io.BytesIO(b"")
    names = ("..\\..\\evil.jpg", "C:evil.jpg", "x\x1b[2J\x85\u2028.jpg", "Ö, 東京.jpg")
    files = [(name, None, 0) for name in names]
    with archive_of(monkeypatch, *files, ("b\nc.jpg: forged", short, 0)) as archive:
        safe = [".._.._evil.jpg", "C_evil.jpg", "x_[2J__.jpg", "Ö, 東京.jpg"]
        assert archive.namelist() == [*safe, "b_c.jpg_ forged", "missing.txt"]
        assert len(archive.read("missing.txt").decode().splitlines()) == 1
    names = (
        'a*b "q" <x>|y?.jpg', "CON.jpg", "lpt1", "constant.jpg", "a. .", "été.jpg",
        "e\u0301te\u0301.jpg",
    )  # fmt: skip
    with archive_of(monkeypatch, *((name, None, 0) for name in names)) as archive:
        safe = ["a_b _q_ _x__y_.jpg", "_CON.jpg", "_lpt1", "constant.jpg", "a___", "été.jpg"]
        assert archive.namelist() == [*safe, "6/e\u0301te\u0301.jpg"]


def test_archives_have_files_or_jpegs_without_metadata(client, web_database, web_settings, tmp_path):
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    draw_shot(tmp_path / "shot.jpg", 0, gps=(48.8584, 2.2945))
    shot = (tmp_path / "shot.jpg").read_bytes()
    numbers = [library.file(f"{n}.jpg", (EIFFEL, 0.9, True), data=shot + bytes(n)) for n in range(2)]
    (library.root / "1.jpg").unlink()
    form = {"photo": ",".join(map(str, numbers))}

    def selected(**options: str) -> ZipFile:
        return zip_of(client.post("/photos/download", data=form | options, headers={"origin": LOCAL_URL}))

    def found(name: str) -> ZipFile:
        return zip_of(client.get(f"/download/{name}?landmark={EIFFEL}"))

    for archive in (selected(with_metadata="1"), found("files.zip")):
        assert archive.read("0.jpg") == shot
        assert b"1.jpg: The file no longer exists" in archive.read("missing.txt")
    for archive in (selected(), found("photos.zip")):
        assert archive.namelist() == ["0.jpg", "missing.txt"]
        with Image.open(io.BytesIO(archive.read("0.jpg"))) as image:
            assert (image.format, dict(image.getexif())) == ("JPEG", {})


def zip_of(answer: httpx.Response) -> ZipFile:
    assert answer.headers["content-disposition"] == 'attachment; filename="photos.zip"'
    return ZipFile(io.BytesIO(answer.content))


def test_a_search_with_too_many_photos_is_not_downloaded(client, library, monkeypatch):
    monkeypatch.setattr(photo, "MOST_ARCHIVED", 1)
    for number in range(2):
        library.file(f"{number}.jpg", (EIFFEL, 0.9, True))
    answer = client.get(f"/download/files.zip?landmark={EIFFEL}")
    assert (answer.status_code, "More than 1 photos cannot be" in answer.text) == (422, True)
