"""View models of photos and landmarks: addresses, thumbnails and labels."""

from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

from tagger.query import LandmarkCount, TaggedPhoto
from tagger.query.covers import Cover
from tagger.web.http.query_params import QueryParams

DIGEST_LENGTH = 16
"""How much of the image digest is in a thumbnail's address, so that another image has another address."""


@dataclass(frozen=True)
class Link:
    """A link; of a country also its number of landmarks, and whether it is the selected one."""

    name: str
    address: str
    count: int = 0
    current: bool = False


@dataclass(frozen=True)
class PhotoTile:
    """A photo in a grid. `name` is its landmark, `alt` the alternative text."""

    id: int
    address: str
    small: str
    large: str
    name: str
    alt: str


@dataclass(frozen=True)
class LandmarkCard:
    """A landmark with its cover. `photos` is None until they are counted."""

    slug: str
    name: str
    region: str
    address: str
    photos: int | None
    small: str | None
    large: str | None


def photo_tile(photo: TaggedPhoto, params: QueryParams) -> PhotoTile:
    """Return the tile of a photo in the grid of a query; its page steps through the same query."""
    name = next((tag.name for tag in photo.tags if tag.accepted), "")
    file = PurePath(photo.path).name + (f", {photo.files} files" if photo.files > 1 else "")
    return PhotoTile(
        id=photo.id,
        address=photo_address(photo.id, params),
        small=thumbnail_address(photo.id, photo.digest, 256),
        large=thumbnail_address(photo.id, photo.digest, 512),
        name=name,
        alt=f"{name}, {file}" if name else file,
    )


def landmark_card(count: LandmarkCount, cover: Cover | None, *, is_counted: bool) -> LandmarkCard:
    """Return the card of a landmark in the library."""
    return LandmarkCard(
        slug=count.landmark,
        name=count.name,
        region=", ".join(part for part in (count.city, count.country) if part),
        address=landmark_address(count.landmark),
        photos=count.photos if is_counted else None,
        small=thumbnail_address(cover.photo_id, cover.digest, 256) if cover else None,
        large=thumbnail_address(cover.photo_id, cover.digest, 512) if cover else None,
    )


def thumbnail_address(photo_id: int, digest: str | None, side_px: int) -> str:
    """Return the address of a photo's thumbnail, 256 or 512 pixels a side."""
    version = f"&v={quote(digest[-DIGEST_LENGTH:], safe='')}" if digest else ""
    return f"/api/photos/{photo_id}/thumbnail?size={side_px}{version}"


def photo_address(photo_id: int, params: QueryParams, subpath: str = "") -> str:
    """Return the address of a photo's page within a query."""
    return params.address(f"/photos/{photo_id}{subpath}", within=1)


def landmark_address(slug: str) -> str:
    """Return the address of a landmark's page."""
    return f"/landmarks/{quote(slug, safe='')}"


def trip_address(trip_id: str) -> str:
    """Return the address of a trip's page."""
    return f"/trips/{quote(trip_id, safe='')}"
