"""Udacity's landmark photos, a subset of Google Landmarks v2 with 50 labels: download and unpack the archive.

The archive is not trusted: only photos are unpacked, only below the folder, and checksums are compared.
"""

import http.client
import json
import re
import shutil
import urllib.request
import zipfile
import zlib
from importlib.resources import files
from pathlib import Path

from tagger.model.artifact import file_digest
from tagger.photos.names import is_photo_name
from trainer import progress
from trainer.data.gazetteer import FILE_NAME
from trainer.data.output_folder import new_folder, require_free_folder
from trainer.errors import DataUnusable
from trainer.progress import photo_progress

URL = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = "source.json"
GAZETTEER = "udacity-landmarks.csv"

# Matches the path of a photo, perhaps below one top folder. The group is its path in the new
# folder.
_PHOTO = re.compile(r"(?:[\w. -]+/)?((?:train|test)/[\w(),'-][\w(),'. -]*/[\w(),'-][\w(),'. -]*)")
_PART_BYTES = 1 << 20
_TIMEOUT_S = 30.0
# What the connection, and damaged, unusual and encrypted archives raise.
_FAILURES = (
    OSError,
    http.client.HTTPException,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    ValueError,
)


def fetch_udacity(out: Path, url: str = URL) -> bool:
    """Download and unpack the archive to OUT/{train,test}/LABEL. Returns False if `out` is complete already.

    Raises:
        DataUnusable, OutputUnwritable: with what to do. There is nothing in `out` then.
    """
    if (out / RECORD).is_file():
        return False
    require_free_folder(out)
    with new_folder(out) as folder:
        archive = folder / "archive.zip"
        try:
            _download(url, archive)
            unpack_photos(archive, folder)
            record = {"url": url, "size_bytes": archive.stat().st_size, "digest": file_digest(archive)}
            archive.unlink()
            (folder / FILE_NAME).write_bytes(files("trainer.data").joinpath(GAZETTEER).read_bytes())
            (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        except _FAILURES as error:
            remedy = "Run the same command again, or name another copy of the archive with --url"
            reason = f"it cannot be downloaded: {str(error) or type(error).__name__}"
            raise DataUnusable(path=url, reason=reason, remedy=remedy) from error
    return True


def _download(url: str, file: Path) -> None:
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response,  # noqa: S310 - a file may be named too
        file.open("wb") as out,
        progress.display("downloading, MB") as show,
    ):
        total = int(response.headers.get("Content-Length") or 0)
        while part := response.read(_PART_BYTES):
            out.write(part)
            show(out.tell() >> 20, (total >> 20) or None)


def unpack_photos(archive: Path, folder: Path) -> None:
    """Unpack the photos of `archive` into `folder`, without a top folder that holds everything."""
    with zipfile.ZipFile(archive) as file:
        photos = photo_entries(file.infolist())
        if not any(path.startswith("train/") for path in photos):
            raise zipfile.BadZipFile("it has no train/LABEL/photo.jpg")
        with photo_progress("unpacking photos", len(photos)) as advance:
            for path, info in photos.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(info) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out)
                advance(1)


def photo_entries(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The photos among an archive's entries, by their paths below the folder; other files are skipped."""
    matches = ((_PHOTO.fullmatch(info.filename), info) for info in infos)
    return {match[1]: info for match, info in matches if match and is_photo_name(match[1])}
