"""The course's photos: a subset of Google Landmarks v2 with 50 labels, as its archive lays them out."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tagger.artifact import file_digest
from trainer.datasets.archive import ArchiveUnsound, unpack_photos
from trainer.datasets.download import Source, download
from trainer.datasets.placing import check_out, check_room, placed
from trainer.errors import ArchiveRefused, writing_to
from trainer.photos.data import find_labelled_photos
from trainer.photos.gazetteer import FILE_NAME

URL = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = "source.json"
GAZETTEER = "udacity-landmarks.csv"


@dataclass(frozen=True)
class Fetched:
    """What lies in the folder now; `was_there` tells that nothing had to be done."""

    folder: Path
    train: int
    test: int
    labels: int
    was_there: bool


def fetch_udacity(out: Path, url: str = URL, *, waits_s: tuple[float, ...] | None = None) -> Fetched:
    """Fetch and unpack the archive to OUT/{train,test}/LABEL, with a landmarks.csv; if that is done, do nothing.

    Raises:
        DownloadFailed, ArchiveRefused, FolderNotEmpty, NoRoom, OutputUnwritable: with what to do.
    """
    if (out / RECORD).is_file():
        return _fetched(out, was_there=True)
    check_out(out)
    archive = out.absolute().with_name(f".{out.name}.download.zip")
    with writing_to(out):
        archive.parent.mkdir(parents=True, exist_ok=True)
    source = _archive(url, archive, waits_s)
    try:
        with placed(out) as making:
            unpack_photos(archive, making, check_room=lambda needed: check_room(out, needed))
            _check_layout(making)
            _add_records(making, source, archive)
    except ArchiveUnsound as unsound:
        archive.unlink()
        raise ArchiveRefused(url=url, reason=unsound) from unsound
    archive.unlink()
    return _fetched(out, was_there=False)


def _archive(url: str, archive: Path, waits_s: tuple[float, ...] | None) -> Source:
    """The archive, which an earlier attempt may have fetched as a whole."""
    if archive.is_file():
        return Source(url, None, archive.stat().st_size)
    options = {} if waits_s is None else {"waits_s": waits_s}
    # Photos hardly shrink in an archive: what comes is needed twice.
    return download(url, archive, check_room=lambda coming: check_room(archive.parent, 2 * coming), **options)


def _check_layout(folder: Path) -> None:
    if not find_labelled_photos(folder / "train"):
        raise ArchiveUnsound("it holds no train/LABEL/photo.jpg")


def _add_records(folder: Path, source: Source, archive: Path) -> None:
    """The gazetteer of the course's labels, unless the archive has one, and where all this is from."""
    record = {"url": source.url, "size_bytes": archive.stat().st_size, "digest": file_digest(archive)}
    with writing_to(folder):
        if not (folder / FILE_NAME).exists():
            (folder / FILE_NAME).write_bytes(files("trainer.datasets").joinpath(GAZETTEER).read_bytes())
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _fetched(out: Path, *, was_there: bool) -> Fetched:
    train, test = find_labelled_photos(out / "train"), find_labelled_photos(out / "test")
    labels = {photo.label for photo in (*train, *test)}
    return Fetched(out, len(train), len(test), len(labels), was_there)
