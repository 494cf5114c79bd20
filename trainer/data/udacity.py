"""Udacity's landmark photos, a subset of Google Landmarks v2 with 50 labels: download and unpack the archive.

The archive is not trusted: only photos are unpacked, only below the folder, and only up to a size. A damaged file is detected by
its checksum.
"""

import errno
import json
import logging
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from tagger.model.artifact import file_digest
from tagger.photos.photo_names import is_photo_name
from trainer.data.download import download
from trainer.data.gazetteer import FILE_NAME
from trainer.data.output_folder import new_folder, require_free_folder, require_space
from trainer.errors import ArchiveRefused, writing_to
from trainer.progress import photo_progress

URL = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = "source.json"
GAZETTEER = "udacity-landmarks.csv"

log = logging.getLogger("trainer")

MOST_BYTES = 20 * 2**30
_PHOTO = re.compile(r"(?:[\w. -]+/)?((?:train|test)/[\w(),'-][\w(),'. -]*/[\w(),'-][\w(),'. -]*)")
"""Matches the path of a photo, perhaps in a folder that holds everything, and its path below the new folder. It leads nowhere else."""
_PART_BYTES = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises for damaged, unusual and encrypted files."""


class ArchiveUnsound(Exception):
    """The reason why an archive is not unpacked, as the end of a sentence."""


def fetch_udacity(out: Path, url: str = URL) -> bool:
    """Download and unpack the archive to OUT/{train,test}/LABEL, with a landmarks.csv. Returns False if `out` is complete already.

    Raises:
        DownloadFailed, ArchiveRefused, FolderNotEmpty, NotEnoughSpace, OutputUnwritable: with what to do.
    """
    if (out / RECORD).is_file():
        return False
    require_free_folder(out)
    archive = out.absolute().with_name(f".{out.name}.download.zip")
    with writing_to(out):
        archive.parent.mkdir(parents=True, exist_ok=True)
    if not archive.is_file():  # an interrupted command may have downloaded it
        # Unpacked photos are about as large as the archive, so twice the space is needed.
        download(url, archive, check_space=lambda size_bytes: require_space(archive.parent, 2 * size_bytes))
    try:
        with new_folder(out) as folder:
            unpack_photos(archive, folder, check_space=lambda needed: require_space(out, needed))
            _add_records(folder, url, archive)
    except ArchiveUnsound as error:
        archive.unlink()
        raise ArchiveRefused(url=url, reason=error) from error
    archive.unlink()
    return True


def unpack_photos(archive: Path, folder: Path, *, check_space: Callable[[int], None]) -> None:
    """Unpack the photos of `archive` into `folder`, without a top folder that holds everything.

    `check_space` is called with the number of bytes that will be written.

    Raises:
        ArchiveUnsound: it is damaged or too large. OutputUnwritable, or what `check_space` raises.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            photos = photo_entries(file.infolist())
            check_space(sum(info.file_size for info in photos.values()))
            with photo_progress("unpacking photos", len(photos)) as advance:
                for path, info in photos.items():
                    _unpack(file, info, folder / path)
                    advance(1)
    except _DAMAGE as error:
        raise ArchiveUnsound(f"the archive is damaged ({str(error).rstrip('.')})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: zipfile looked for an entry outside the file
            raise
        raise ArchiveUnsound("the archive is damaged (an entry is outside the file)") from error


def photo_entries(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The photos among an archive's entries, by their paths below the folder; other files are skipped.

    Raises:
        ArchiveUnsound: none is for training, or they would need too much space.
    """
    matches = ((_PHOTO.fullmatch(info.filename), info) for info in infos)
    photos = {match[1]: info for match, info in matches if match and is_photo_name(match[1])}
    if not any(path.startswith("train/") for path in photos):
        raise ArchiveUnsound("it has no train/LABEL/photo.jpg")
    size_bytes = sum(info.file_size for info in photos.values())
    if size_bytes > MOST_BYTES:
        raise ArchiveUnsound(f"it would unpack to {size_bytes} bytes, more than {MOST_BYTES}")
    return photos


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write one file. zipfile limits it to the declared size and verifies the checksum at its end."""
    with archive.open(info) as packed, writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            shutil.copyfileobj(packed, out, _PART_BYTES)


def _add_records(folder: Path, url: str, archive: Path) -> None:
    """Write the gazetteer, and a record of the source."""
    record = {"url": url, "size_bytes": archive.stat().st_size, "digest": file_digest(archive)}
    with writing_to(folder):
        (folder / FILE_NAME).write_bytes(files("trainer.data").joinpath(GAZETTEER).read_bytes())
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
