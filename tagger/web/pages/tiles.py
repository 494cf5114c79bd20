"""Photos and landmarks as pages show them: an address, a thumbnail, and words. Made of plain values; asks nobody."""

from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

from tagger.query import LandmarkCount, TaggedPhoto
from tagger.web.asked import Asked
from tagger.web.overview import Cover

DIGEST_SHOWN = 16
"""So much of a picture's digest stands in a thumbnail's address: another picture has another address."""


@dataclass(frozen=True)
class Link:
    """A name and an address; of a country also how many landmarks it has, and whether it is the one shown."""

    name: str
    address: str
    count: int = 0
    current: bool = False


@dataclass(frozen=True)
class Tile:
    """A photo in a grid. `name` is what it shows, `words` all that is to be said of it."""

    id: int
    address: str
    small: str
    large: str
    name: str
    words: str


@dataclass(frozen=True)
class Card:
    """A landmark with its cover and its number of photos; None: not counted yet."""

    slug: str
    name: str
    place: str
    address: str
    photos: int | None
    small: str | None
    large: str | None


def tile(photo: TaggedPhoto, wanted: Asked) -> Tile:
    """How the photo stands in the grid of that query, which its page goes on through."""
    name = next((tag.name for tag in photo.tags if tag.accepted), "")
    file = PurePath(photo.path).name
    return Tile(
        id=photo.id,
        address=photo_address(photo.id, wanted),
        small=thumbnail(photo.id, photo.digest, 256),
        large=thumbnail(photo.id, photo.digest, 512),
        name=name,
        words=f"{name}, {file}" if name else file,
    )


def thumbnail(photo_id: int, digest: str | None, size: int) -> str:
    """The address of a photo's thumbnail, 256 or 512 pixels a side."""
    kept = f"&v={quote(digest[-DIGEST_SHOWN:], safe='')}" if digest else ""
    return f"/api/photos/{photo_id}/thumbnail?size={size}{kept}"


def card(landmark: LandmarkCount, cover: Cover | None, *, counted: bool) -> Card:
    """How the landmark stands in the library."""
    return Card(
        slug=landmark.landmark,
        name=landmark.name,
        place=", ".join(part for part in (landmark.city, landmark.country) if part),
        address=landmark_address(landmark.landmark),
        photos=landmark.photos if counted else None,
        small=thumbnail(cover.photo_id, cover.digest, 256) if cover else None,
        large=thumbnail(cover.photo_id, cover.digest, 512) if cover else None,
    )


def photo_address(photo_id: int, wanted: Asked, page: str = "") -> str:
    """The page of a photo, among those of a query."""
    return wanted.address(f"/photos/{photo_id}{page}", within=1)


def landmark_address(slug: str) -> str:
    """The page of a landmark."""
    return f"/landmarks/{quote(slug, safe='')}"
