"""The metadata of photo files: reading capture time and position, and writing tags to XMP, EXIF and IPTC.

Here are the values that this program adds, derived from a photo's accepted tags, and why they were not
written: a refusal of this file, or a failure of the disk. Both leave it whole.
"""

import errno
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self, TypeVar

from tagger.errors import PicklableError
from tagger.geo import distance_km
from tagger.photos.files import LinkRefused
from tagger.texts.names import name_in_language

HIERARCHY_ROOT, ROOT_OF_THINGS = "Places", "Things"
_APOSTROPHES = str.maketrans(
    dict.fromkeys("\u2019\u2018\u02bc\u02bb\u2032\u00b4`\uff07", "'")
)
_MAX_NORMALISED = 1_000
POINT = "point"
# The GPSProcessingMethod of positions that this program wrote; the source of an estimate follows
# it.
OUR_METHOD = "landmark-tagger"
# The assumed distance between camera and landmark. Most photos are taken from nearer.
POSITION_ERROR_M = 1000.0
# Landmarks farther apart than this cannot be in one photo, so the camera's position is unknown.
MAX_DISTANCE_KM = 5.0


def keyword_key(text: str) -> str:
    """The key by which texts count as the same keyword, whatever their case, blanks, apostrophes and form."""
    # Normalisation takes quadratic time for hostile texts, and no keyword is this long.
    composed = (
        text if len(text) > _MAX_NORMALISED else unicodedata.normalize("NFC", text)
    )
    return " ".join(composed.translate(_APOSTROPHES).split()).casefold()


@dataclass(frozen=True)
class NamedLandmark:
    """An accepted tag with its landmark. `score` and `model` are None if only a verdict names it.

    `latitude` and `longitude` are degrees (WGS 84). `extent` is point, line, area, multi, or None if unknown.
    """

    slug: str
    name: str
    country: str | None = None
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    extent: str | None = None
    score: float | None = None
    model: str | None = None
    verdict: str | None = None
    names: Mapping[str, str] = field(default_factory=dict, compare=False)

    def in_language(self, language: str | None) -> Self:
        return replace(self, name=name_in_language(self.name, self.names, language))


@dataclass(frozen=True)
class PositionEstimate:
    """An estimate of the camera's position in degrees, with an error of `error_m` metres.

    `source` names what it was estimated from: a landmark, a track or photos nearby in time. None: it is that
    of a tagged landmark. `sight`: where that is.
    """

    latitude: float
    longitude: float
    error_m: float
    source: str | None = None
    sight: NamedLandmark | None = None

    @property
    def method(self) -> str:
        """The processing method in the metadata, which shows that the position is not a measurement."""
        return OUR_METHOD if self.source is None else f"{OUR_METHOD} {self.source}"


@dataclass(frozen=True)
class TagFields:
    """The values to add to one photo's metadata. Empty: all of our values are removed.

    `keywords` are flat. `paths` are hierarchical keywords, outermost name first. `position` and `description`
    are written only where the photo has none.
    """

    landmarks: tuple[NamedLandmark, ...] = ()
    keywords: tuple[str, ...] = ()
    paths: tuple[tuple[str, ...], ...] = ()
    position: PositionEstimate | None = None
    description: str | None = None

    def __bool__(self) -> bool:
        return bool(self.keywords) or self.position is not None

    def without_landmark_coordinates(self) -> Self:
        """The same values, where the landmarks say nothing of where they are. The position stays."""
        landmarks = (
            replace(landmark, latitude=None, longitude=None)
            for landmark in self.landmarks
        )
        return replace(self, landmarks=tuple(landmarks))


def make_tag_fields(
    landmarks: Sequence[NamedLandmark],
    *,
    things: Sequence[tuple[str, ...]] = (),
    gps: bool = False,
    estimate: PositionEstimate | None = None,
    description: bool = False,
) -> TagFields:
    """Derive the values from a photo's accepted tags, best first.

    The position is the `estimate`, else with `gps` that of a landmark. `things`: what else it shows, as the
    names of what that is a kind of, and its own.
    """
    places = [*landmarks, *([estimate.sight] if estimate and estimate.sight else [])]
    names = (*(place.name for place in places), *(path[-1] for path in things))
    paths = (
        (
            HIERARCHY_ROOT,
            *filter(None, (place.country, place.city)),
            place.name,
        )
        for place in places  # Places, France, Paris, Eiffel Tower
    )
    describes = description and bool(landmarks)
    return TagFields(
        landmarks=tuple(landmarks),
        keywords=tuple(dict.fromkeys(names)),
        paths=(
            *dict.fromkeys(paths),
            *((ROOT_OF_THINGS, *path) for path in things),
        ),
        position=estimate or (_position(landmarks) if gps and landmarks else None),
        description="; ".join(_description(landmark) for landmark in landmarks)
        if describes
        else None,
    )


def _description(landmark: NamedLandmark) -> str:
    return ", ".join(
        part for part in (landmark.name, landmark.city, landmark.country) if part
    )


def _position(landmarks: Sequence[NamedLandmark]) -> PositionEstimate | None:
    # The best landmark's position, if it is a single point and no other tag contradicts it.
    coordinates = [
        (landmark.latitude, landmark.longitude)
        for landmark in landmarks
        if landmark.latitude is not None and landmark.longitude is not None
    ]
    best = landmarks[0]
    if best.extent != POINT or best.latitude is None or best.longitude is None:
        return None
    position = (best.latitude, best.longitude)
    if any(distance_km(*position, *other) > MAX_DISTANCE_KM for other in coordinates):
        return None
    return PositionEstimate(*position, POSITION_ERROR_M)


WriteFailureKind = Literal["disk-full", "gone", "unreadable"]


class RefusalKind(StrEnum):
    """Kinds of refusal, by which people filter. Where possible, the tags go into a sidecar instead."""

    # The format cannot be changed without encoding the image again, or at all: HEIC, RAW, GIF, BMP.
    FORMAT = "format"
    # The container is broken or ambiguous, so the effect of a write is unknown.
    STRUCTURE = "structure"
    # Data in the file is found by its offset, which a write would change.
    OFFSETS = "offsets"
    # Content credentials (C2PA) sign the whole file, so any write would break the signature.
    SIGNED = "signed"
    # The existing XMP cannot be read, or holds our fields in a form in which values would be lost.
    XMP = "xmp"
    # The values exceed the room that the container has for them.
    TOO_LARGE = "too-large"
    # The photo is a symbolic link or has several hard links, which replacing the file would
    # separate.
    LINK = "link"
    # The image is not the one that was tagged.
    CHANGED = "changed"
    # Another program writes the file.
    BUSY = "busy"
    # The new file failed the comparison with the original.
    CHECK = "check"
    # The photo is an object in a bucket.
    BUCKET = "bucket"
    # The sidecar may belong to another photo as well: `a.jpg.xmp` beside `a.jpg` and `a.jpg.cr3`.
    SIDECAR = "sidecar"
    # A file that was written is not where it was, or another program has replaced it.
    LOST = "lost"
    # The file or its folder is write-protected.
    READ_ONLY = "read-only"
    # The photo is in a folder of another program, which keeps its own records of the files in it.
    LIBRARY = "library"


class WriteRefused(PicklableError):
    """A file cannot be written without risk. `text` states the reason and the remedy."""

    def __init__(self, kind: RefusalKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class WriteFailed(PicklableError):
    """The disk or share failed while a file was written: it is the old one or the new one, both whole.

    `kind` is disk-full, gone (file or folder), or unreadable (disk or share fails).
    """

    def __init__(self, kind: WriteFailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@contextmanager
def translated_os_errors(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as WriteRefused or WriteFailed, with `path` in its text."""
    try:
        yield
    except LinkRefused as error:
        text = f"{path.name!r} is left unchanged. {error.strerror}"
        raise WriteRefused(RefusalKind.LINK, text) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"{path.name!r} cannot be written ({reason})."
        if refusal := _REFUSALS.get(error.errno or 0):
            kind, remedy = refusal
            raise WriteRefused(kind, f"{text} {remedy}") from error
        failure, remedy = _FAILURES.get(error.errno, _OTHER_FAILURE)
        raise WriteFailed(failure, f"{text} {remedy}") from error


_REFUSALS = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        (
            RefusalKind.READ_ONLY,
            "Give this user write permission for the file and its folder, or choose another folder.",
        ),
    ),
    **dict.fromkeys(
        (errno.EAGAIN, errno.EBUSY, errno.ETXTBSY),
        (RefusalKind.BUSY, "Another program uses it. Close it there and try again."),
    ),
    errno.ELOOP: (RefusalKind.LINK, "It is a link. Name the file that it points to."),
    errno.ENAMETOOLONG: (
        RefusalKind.TOO_LARGE,
        "The name is too long for this disk. Shorten the photo's name.",
    ),
}
_FAILURES: dict[int | None, tuple[WriteFailureKind, str]] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        ("disk-full", "Free some space on this disk, or in this user's quota."),
    ),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR),
        ("gone", "The file or its folder no longer exists. Scan the folder again."),
    ),
}
_OTHER_FAILURE: tuple[WriteFailureKind, str] = (
    "unreadable",
    "Check its disk or network share and try again.",
)


# What the checks of removals from XMP and IPTC share.

Item = TypeVar("Item")


def only_removed(
    before: Sequence[Item], after: Sequence[Item], is_ours: Callable[[Item], bool]
) -> bool:
    """Whether `after` is `before` less some items that are ours, in the same order."""
    at = 0
    for item in before:
        if at < len(after) and after[at] == item:
            at += 1
        elif not is_ours(item):
            return False
    return at == len(after)
