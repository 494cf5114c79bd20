"""The photos before and after one, in the query that it was opened from.

An address carries the query and `after`, the cursor of the page of the answer in which the photo stands; answers are only
walked forwards, so `back` carries the cursor of the page before that, as far as it was walked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tagger.query import TaggedPhoto, find_tagged_page
from tagger.query.cursors import cursor_of, position_of
from tagger.web.asked import Asked
from tagger.web.place import Place

PAGE = 200
MOST_PAGES = 5
"""So far a photo is looked for, from the page that its address names."""


@dataclass(frozen=True)
class Context:
    """What a photo's address says of where it was opened; `left` and `right` are for a photo that a verdict took out of its query."""

    wanted: Asked
    after: str | None = None
    back: str | None = None
    left: int | None = None
    right: int | None = None

    def address(self, photo_id: int) -> str:
        """The photo within this query."""
        where = {"after": self.after, "back": self.back, "left": self.left, "right": self.right}
        return self.wanted.address(f"/photos/{photo_id}", within=1, **where)


@dataclass(frozen=True)
class Neighbours:
    """Numbers and addresses of the photos beside one; None: there is none, or it is not known."""

    left: int | None = None
    right: int | None = None
    previous: str | None = None
    following: str | None = None


@dataclass(frozen=True)
class _Step:
    """A photo of an answer, and how its address names the page it is in."""

    photo_id: int
    context: Context


def neighbours(place: Place, context: Context, photo_id: int) -> Neighbours:
    """Those beside the photo.

    Raises:
        CursorInvalid, QueryInvalid, LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: the address means nothing here.
    """
    before: _Step | None = None
    steps = _steps(place, context)
    for step in steps:
        if step.photo_id == photo_id:
            return _between(before or _last_before(place, context), next(steps, None))
        before = step
    plain = Context(context.wanted, context.after, context.back)
    left, right = (None if n is None else _Step(n, plain) for n in (context.left, context.right))
    return _between(left, right)


def _between(left: _Step | None, right: _Step | None) -> Neighbours:
    return Neighbours(
        left=None if left is None else left.photo_id,
        right=None if right is None else right.photo_id,
        previous=None if left is None else left.context.address(left.photo_id),
        following=None if right is None else right.context.address(right.photo_id),
    )


def _steps(place: Place, context: Context) -> Iterator[_Step]:
    here = Context(context.wanted, context.after, context.back)
    for _ in range(MOST_PAGES):
        photos, following = _page(place, here)
        yield from (_Step(photo.id, here) for photo in photos)
        if following is None:
            return
        here = Context(context.wanted, following, here.after or "")


def _last_before(place: Place, context: Context) -> _Step | None:
    """The last photo of the page before, where the address says which that is."""
    if context.after is None or context.back is None:
        return None
    earlier = Context(context.wanted, context.back or None)
    photos, _ = _page(place, earlier)
    return _Step(photos[-1].id, earlier) if photos else None


def _page(place: Place, context: Context) -> tuple[tuple[TaggedPhoto, ...], str | None]:
    query = context.wanted.query
    begin = position_of(context.after, query) if context.after else None
    with context.wanted.understood():
        page = find_tagged_page(place.database, query, place.settings.roots, begin, PAGE)
    return page.photos, None if page.next is None else cursor_of(page.next, query)
