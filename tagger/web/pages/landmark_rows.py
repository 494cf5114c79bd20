"""View model of a photo's landmarks: the top-k of the model and taught landmarks, with verdicts and names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tagger.database.connection import Database
from tagger.errors import LandmarkAmbiguous, LandmarkNotFound
from tagger.library.catalog.landmarks import find_landmark
from tagger.library.query.details import PhotoDetails, Verdict
from tagger.library.query.tagged_photos import Tag, TaggedPhoto
from tagger.library.teaching.classifiers import ACCEPTED_SCORE
from tagger.web.api.timeline import headline
from tagger.web.pages.tiles import landmark_address


def landmark_name(database: Database, landmark: str) -> str:
    """Return the name of a landmark that is given by slug or name; the text itself if there is no such landmark now."""
    try:
        with database.read() as connection:
            return find_landmark(connection, landmark).display_name
    except (LandmarkNotFound, LandmarkAmbiguous):
        return landmark


STATE_TEXTS = {
    "confirmed": "confirmed",
    "rejected": "rejected",
    "accepted": "accepted by the model",
    "predicted": "",
}
TAUGHT_TEXTS = STATE_TEXTS | {"accepted": "taught", "predicted": "suggested"}
"""The texts of a landmark that people taught."""
UNLIKELY_SCORE = 0.01
"""Landmarks with lower scores are collapsed at first."""


@dataclass(frozen=True)
class LandmarkRow:
    """A landmark of the photo. `key` is the number key that selects it, `state` one of STATE_TEXTS.

    `threshold` is the lowest score of an accepted tag. `is_taught`: the tag comes from what people taught. `reason`: why it is
    accepted, or not, although its score says otherwise.
    """

    key: int
    slug: str
    name: str
    address: str
    score: float | None
    state: str
    threshold: float | None = None
    is_taught: bool = False
    reason: str | None = None
    by: str | None = None
    at: datetime | None = None

    @property
    def state_text(self) -> str:
        return self.reason or (TAUGHT_TEXTS if self.is_taught else STATE_TEXTS)[self.state]

    @property
    def is_accepted(self) -> bool:
        return self.state in {"confirmed", "accepted"}

    @property
    def is_prominent(self) -> bool:
        """Whether the row is large: the first one, and every landmark that is accepted or suggested, or would be elsewhere."""
        return (
            self.key == 1
            or self.is_accepted
            or self.reason is not None
            or (self.is_taught and self.state == "predicted")
        )

    @property
    def is_unlikely(self) -> bool:
        is_low = self.score is not None and self.score < UNLIKELY_SCORE
        return not self.is_prominent and self.state == "predicted" and is_low


def photo_headline(rows: Sequence[LandmarkRow], photo: TaggedPhoto) -> str:
    """Return what a classified photo shows, in words."""
    guess = photo.guess.name if photo.guess else None
    return headline([row.name for row in rows if row.is_accepted], guess, photo.refusal)


def landmark_rows(details: PhotoDetails) -> list[LandmarkRow]:
    """Return the top-k in the order of the model, then taught landmarks, then those that have only a verdict."""
    verdicts = {verdict.landmark: verdict for verdict in details.verdicts}
    rows = [
        _tag_row(key, tag, verdicts.pop(tag.landmark, None), details.threshold)
        for key, tag in enumerate(details.photo.tags, start=1)
    ]
    others = enumerate(verdicts.values(), start=len(rows) + 1)
    return [*rows, *(_verdict_row(key, verdict) for key, verdict in others)]


def _tag_row(key: int, tag: Tag, verdict: Verdict | None, threshold: float | None) -> LandmarkRow:
    state = verdict.verdict if verdict else ("accepted" if tag.accepted else "predicted")
    return LandmarkRow(
        key=key,
        slug=tag.landmark,
        name=tag.name,
        address=landmark_address(tag.landmark),
        score=tag.score,
        state=state,
        threshold=ACCEPTED_SCORE if tag.source == "taught" else threshold,
        is_taught=tag.source == "taught",
        reason=tag.reason,
        by=verdict.given_by if verdict else None,
        at=verdict.given_at if verdict else None,
    )


def _verdict_row(key: int, verdict: Verdict) -> LandmarkRow:
    return LandmarkRow(
        key=key,
        slug=verdict.landmark,
        name=verdict.name,
        address=landmark_address(verdict.landmark),
        score=None,
        state=verdict.verdict,
        by=verdict.given_by,
        at=verdict.given_at,
    )
