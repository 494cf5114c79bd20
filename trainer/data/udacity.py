"""Udacity's landmark photos, a subset of Google Landmarks v2 with 50 labels: download and unpack the archive.

The archive is not trusted: only photos are unpacked, only below the folder, and only up to a size. A damaged file is detected by
its checksum.
"""

import errno
import http.client
import json
import logging
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from importlib.resources import files
from pathlib import Path

from tagger.cli.output.console import ProgressLine
from tagger.model.artifact import file_digest
from tagger.photos.photo_names import is_photo_name
from trainer.data.gazetteer import FILE_NAME
from trainer.data.output_folder import new_folder, require_free_folder
from trainer.errors import DownloadFailed, OutputUnwritable, writing_to
from trainer.progress import photo_progress

URL = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = "source.json"
GAZETTEER = "udacity-landmarks.csv"

log = logging.getLogger("trainer")

MOST_BYTES = 20 * 2**30
_PHOTO = re.compile(r"(?:[\w. -]+/)?((?:train|test)/[\w(),'-][\w(),'. -]*/[\w(),'-][\w(),'. -]*)")
"""Matches the path of a photo, perhaps below one top folder. The group is its path below the new folder, and cannot lead out of that."""
_PART_BYTES = 1 << 20
_TIMEOUT_S = 30.0
_AGAIN = "Run the same command again"
_OTHER_URL = "Check the URL, or name another one with --url"
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
        DownloadFailed, OutputUnwritable: with what to do.
    """
    if (out / RECORD).is_file():
        return False
    require_free_folder(out)
    archive = out.absolute().with_name(f".{out.name}.download.zip")
    with writing_to(out):
        archive.parent.mkdir(parents=True, exist_ok=True)
    if not archive.is_file():  # an interrupted command may have downloaded it
        download(url, archive)
    try:
        with new_folder(out) as folder:
            unpack_photos(archive, folder)
            record = {"url": url, "size_bytes": archive.stat().st_size, "digest": file_digest(archive)}
            with writing_to(folder):
                (folder / FILE_NAME).write_bytes(files("trainer.data").joinpath(GAZETTEER).read_bytes())
                (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except ArchiveUnsound as error:
        archive.unlink()
        reason = f"{error}. The file was removed"
        raise DownloadFailed(
            url=url, reason=reason, remedy=f"{_AGAIN}, or name another copy with --url"
        ) from error
    archive.unlink()
    return True


def download(url: str, file: Path) -> None:
    """Download `url` to `file`. What is received until then is in FILE.partial, which a failure removes.

    Raises:
        DownloadFailed: there is no such file, or the network or the server failed.
        OutputUnwritable: with what to do.
    """
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(url=url, reason="it is not an http or https URL", remedy=_OTHER_URL)
    partial = file.with_name(file.name + ".partial")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - http only
            total = int(response.headers.get("Content-Length") or 0)
            free = shutil.disk_usage(file.parent).free
            if free < 2 * total:  # unpacked photos are about as large as the archive
                reason = f"there is not enough disk space, {2 * total} bytes needed, {free} free"
                raise OutputUnwritable(path=file.parent, reason=reason)
            _receive(response, partial, total)
        with writing_to(file):
            partial.replace(file)
    except urllib.error.HTTPError as error:
        status = f"the server returned {error.code} {error.reason}".strip()
        error.close()
        is_transient = error.code in {408, 425, 429} or error.code >= 500
        raise DownloadFailed(url=url, reason=status, remedy=_AGAIN if is_transient else _OTHER_URL) from error
    except (OSError, http.client.HTTPException) as error:
        inner = getattr(error, "reason", None)
        cause = inner if isinstance(inner, Exception) else error
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise DownloadFailed(url=url, reason=f"the connection failed ({text})", remedy=_AGAIN) from error
    finally:
        partial.unlink(missing_ok=True)


def _receive(response: http.client.HTTPResponse, partial: Path, total: int) -> None:
    size = 0
    with writing_to(partial):
        out = partial.open("wb")
    with out, ProgressLine("downloading, MB") as line:
        while part := response.read(_PART_BYTES):
            with writing_to(partial):
                out.write(part)
            size += len(part)
            line.show(size >> 20, (total >> 20) or None)
    if size < total:
        raise ConnectionError(f"the connection ended after {size} of {total} bytes")


def unpack_photos(archive: Path, folder: Path) -> None:
    """Unpack the photos of `archive` into `folder`, without a top folder that holds everything.

    Raises:
        ArchiveUnsound: it is damaged or too large.
        OutputUnwritable: with what to do.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            photos = photo_entries(file.infolist())
            with photo_progress("unpacking photos", len(photos)) as advance:
                for path, info in photos.items():
                    # zipfile limits each file to the declared size and verifies the checksum at its end.
                    target = folder / path
                    with file.open(info) as packed, writing_to(target.parent):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        with target.open("wb") as out:
                            shutil.copyfileobj(packed, out, _PART_BYTES)
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
