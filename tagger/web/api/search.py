"""Search: what the start of a typed text may mean, best first, as links to the photos."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from tagger.query.filter_words import Options
from tagger.search.grammar import MAX_LETTERS
from tagger.search.matching import Match
from tagger.search.names import Kind, Meaning
from tagger.texts.city_names import city_name
from tagger.texts.documents import document_of
from tagger.texts.text_format import country_name, gettext, reader_language
from tagger.web.api.routes import api_router
from tagger.web.cached_value import SearchLists
from tagger.web.http.access import Role, requires
from tagger.web.http.count_limiter import COUNTING
from tagger.web.http.query_params import address_of

router = api_router("search")


def search_lists(request: Request) -> SearchLists:
    """Return the application's lists of names."""
    lists: SearchLists = request.app.state.search_lists
    return lists


# A parameter of a route that receives the lists of names.
Lists = Annotated[SearchLists, Depends(search_lists)]
SearchText = Annotated[str, Query(max_length=MAX_LETTERS)]


@dataclass(frozen=True)
class SearchResult:
    """Something that the text may mean. `options` are those of a query for its photos, `address` is its page.

    `photos` is null if they are not counted. `similar`: its name only resembles the text.
    """

    kind: Kind
    label: str
    detail: str
    photos: int | None
    similar: bool
    options: Options
    address: str


@router.get("/search", dependencies=[COUNTING])
@requires(Role.VIEWER)
def search(
    request: Request,
    lists: Lists,
    q: Annotated[
        str,
        Query(
            max_length=MAX_LETTERS,
            description="Parts of names of landmarks, countries, cities, regions, trips, cameras, folders and"
            " files, dates such as May 2019, 2019-05-03 or last summer, and words like unknown or confirmed.",
        ),
    ],
) -> list[SearchResult]:
    """List what the start of a text may mean, at most 12: its parts together, then single meanings by kind.

    Case and accents do not matter, nor do typing errors in a name if no name starts with the text.
    """
    return [suggestion_document(request, each) for each in lists.suggest(q)]


def suggestion_document(request: Request, meaning: Meaning) -> SearchResult:
    """Return a meaning in the reader's language, with the address of its photos, or of its trip."""
    meaning = meaning if reader_language() is None else _for_reader(request.app.state.overview, meaning)
    address = f"/trips/{meaning.trip}" if meaning.trip else address_of("/photos", meaning.options)
    return document_of(SearchResult, meaning, similar=meaning.match is Match.SIMILAR, address=address)


def _for_reader(overview: Any, meaning: Meaning) -> Meaning:
    """A meaning with its names in the reader's language, if they are known. `overview`: that of the pages."""
    label, detail = meaning.label, meaning.detail
    if meaning.kind is Kind.CITY:
        label = city_name(label, detail.partition(", ")[0])
    if meaning.kind in (Kind.LANDMARK, Kind.CITY, Kind.REGION):
        detail = ", ".join(map(country_name, detail.split(", ")))
    if meaning.kind is Kind.LANDMARK:
        label = overview.names().get(meaning.options["landmark"], label)
    elif meaning.kind is Kind.COUNTRY:
        label = country_name(label)
    elif meaning.kind is Kind.OUTCOME:
        label = gettext(label)
    trip = next((each for each in overview.named_trips() or () if each.trip.id == meaning.trip), None)
    if trip is not None:
        label, detail = trip.name, trip.trip.dates
    return replace(meaning, label=label, detail=detail)
