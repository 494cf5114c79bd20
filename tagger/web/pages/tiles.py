"""View models of photos and landmarks: addresses, thumbnails and labels; and of the landmarks of a photo.

Those are the ones that count, that are suggested, or that have verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from urllib.parse import quote

from tagger.database.connection import Database
from tagger.database.enums import TagState
from tagger.errors import LandmarkAmbiguous, LandmarkNotFound
from tagger.landmarks.landmarks import find_landmark
from tagger.query.details import PhotoDetails, Verdict
from tagger.query.tagged_photos import Tag, TaggedPhoto
from tagger.query.timeline import count_copies
from tagger.texts.text_format import (
    N_,
    day_text,
    gettext,
    moment_text,
    ngettext,
    percent,
)
from tagger.things import PREFIX, Thing
from tagger.web.api.photos import TimelinePhoto, guess_text, headline, timeline_photo
from tagger.web.http.query_params import QueryParams
from tagger.web.http.templates import thumbnail_address
from tagger.web.thumbnails import thumbnail_size

# Of photos whose size is unknown.
USUAL_SIZE = (4000, 3000)


@dataclass(frozen=True)
class Link:
    """A link."""

    name: str
    address: str


@dataclass(frozen=True)
class PhotoTile(TimelinePhoto):
    """A photo in a grid, with its thumbnails. `facts`: the landmark, its score and the time in words."""

    address: str
    small: str
    large: str
    small_px: tuple[int, int]
    large_px: tuple[int, int]
    alt: str
    file_text: str
    facts: str

    @property
    def day(self) -> date | None:
        return self.taken_at and self.taken_at.date()


def photo_tile(photo: TaggedPhoto, params: QueryParams, copies: int = 1) -> PhotoTile:
    """Return the tile of a photo in the grid of a query; its page steps through the same query."""
    brief = timeline_photo(photo, copies, guess_text(photo, params.query))
    score = "" if brief.score is None else percent(brief.score)
    taken = "" if photo.taken_at is None else _moment(photo.taken_at)
    files = ngettext("%(count)s file", "%(count)s files", photo.files) if photo.files > 1 else ""
    file_text = ", ".join(filter(None, (brief.file, files)))
    size = (photo.width, photo.height) if photo.width and photo.height else USUAL_SIZE
    return PhotoTile(
        **vars(brief),
        address=params.address(f"/photos/{photo.id}", within=1),
        small=thumbnail_address(photo.id, photo.digest, 256),
        large=thumbnail_address(photo.id, photo.digest, 512),
        small_px=thumbnail_size(*size, 256),
        large_px=thumbnail_size(*size, 512),
        alt=", ".join(filter(None, (brief.name or photo.place, taken))) or file_text,
        file_text=file_text,
        facts=" · ".join(filter(None, (f"{brief.name or ''} {score}".strip(), taken))),
    )


def _moment(taken_at: datetime) -> str:
    """The time in words; that of a day alone is midnight."""
    return moment_text(taken_at) if taken_at.time() != time() else day_text(taken_at)


def photo_tiles(database: Database, photos: Sequence[TaggedPhoto], params: QueryParams) -> list[PhotoTile]:
    """Return the tiles of photos in the grid of a query, each with the number of its exact copies."""
    copies = count_copies(database, [photo.digest for photo in photos if photo.digest])
    return [photo_tile(photo, params, copies.get(photo.digest or "", 1)) for photo in photos]


def trip_address(trip_id: str) -> str:
    """Return the address of a trip's page."""
    return f"/trips/{quote(trip_id, safe='')}"


def landmark_name(database: Database, landmark: str) -> str:
    """Return the name of a landmark given by slug or name; the text itself if there is none now."""
    try:
        with database.read() as connection:
            return find_landmark(connection, landmark).display_name
    except (LandmarkNotFound, LandmarkAmbiguous):
        return landmark


STATE_TEXTS = {
    "confirmed": N_("confirmed"),
    "rejected": N_("rejected"),
    "accepted": N_("recognised"),
    "suggested": N_("suggested"),
    "predicted": "",
}


@dataclass(frozen=True)
class LandmarkRow:
    """A landmark of the photo. `state`: one of STATE_TEXTS; `is_taught`: the tag is of a taught place.

    `reason`: why it is accepted, or not, although its score says otherwise.
    """

    slug: str
    name: str
    score: float | None
    state: str
    model: str | None = None
    is_taught: bool = False
    reason: str | None = None
    by: str | None = None
    at: datetime | None = None

    @property
    def state_text(self) -> str:
        text = N_("taught") if self.is_taught and self.state == "accepted" else STATE_TEXTS[self.state]
        return self.reason or (text and gettext(text))

    @property
    def is_accepted(self) -> bool:
        return self.state in {"confirmed", "accepted"}


def photo_headline(rows: Sequence[LandmarkRow], photo: TaggedPhoto) -> str:
    """Return what a classified photo shows, in words."""
    guess = photo.guess.name if photo.guess else None
    return headline([row.name for row in rows if row.is_accepted], guess, photo.refusal)


def landmark_rows(details: PhotoDetails) -> list[LandmarkRow]:
    """Return what counts or is suggested, with what is doubtful and the guess; then mere verdicts."""
    photo = details.photo
    verdicts = {verdict.landmark: verdict for verdict in details.verdicts}
    rows = [
        _tag_row(tag, verdicts.pop(tag.landmark, None))
        for tag in photo.tags
        if tag.state or tag.verdict or (tag == photo.guess and not photo.refusal)
    ]
    others = (
        LandmarkRow(each.landmark, each.name, None, each.verdict, by=each.given_by, at=each.given_at)
        for each in verdicts.values()
    )
    return [*rows, *others]


def thing_rows(details: PhotoDetails, every: Mapping[str, Thing]) -> list[LandmarkRow]:
    """Return the things that a photo shows, and those that were rejected, the surest first.

    What others are a kind of is behind them, such as an animal behind the dog: keys act on the first one.
    """
    kinds = set[str]()
    for each in details.photo.things:
        parent = every[each.thing].parent
        while parent is not None and parent not in kinds:
            kinds.add(parent)
            parent = every[parent].parent
    return [
        LandmarkRow(PREFIX + each.thing, each.name, each.score, each.verdict or "accepted")
        for each in sorted(details.photo.things, key=lambda each: each.thing in kinds)
    ]


def _tag_row(tag: Tag, verdict: Verdict | None) -> LandmarkRow:
    is_shown = tag.accepted or tag.state is TagState.SUGGESTED
    state = verdict.verdict if verdict else str(tag.state) if is_shown else "predicted"
    return LandmarkRow(
        slug=tag.landmark,
        name=tag.name,
        score=tag.score,
        state=state,
        model=tag.model,
        is_taught=tag.source == "taught",
        reason=tag.reason,
        by=verdict.given_by if verdict else None,
        at=verdict.given_at if verdict else None,
    )
