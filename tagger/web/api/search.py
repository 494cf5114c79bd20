"""Search: what typed text may mean, best first, as links to the photos."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request

from tagger.library.search.matching import Match
from tagger.library.search.suggestions import Kind, Suggestion
from tagger.system.documents import document_of
from tagger.web.api.routes import api_router
from tagger.web.cached_value import SearchLists
from tagger.web.http.attempt_limiter import COUNTING
from tagger.web.http.query_params import address_of

router = api_router("search")


def search_lists(request: Request) -> SearchLists:
    """Return the application's lists of names."""
    lists: SearchLists = request.app.state.search_lists
    return lists


Lists = Annotated[SearchLists, Depends(search_lists)]
"""A parameter of a route that receives the lists of names."""


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
    options: Mapping[str, str]
    address: str


@router.get("/search", dependencies=[COUNTING])
def search(
    lists: Lists,
    q: Annotated[
        str,
        Query(
            max_length=200,
            description="Part of the name of a landmark, country, city, trip, camera or folder, the start of a file's name, "
            "or a date: 2024, May 2019, 2019-05-03, 2019 to 2021, 1990s, summer 2016, last year.",
        ),
    ],
) -> list[SearchResult]:
    """List what the text may mean, at most 12, best first and by kind. Case and accents do not matter, nor do typing errors in a name if no name starts with the text."""
    return [suggestion_document(each) for each in lists.suggest(q)]


def suggestion_document(suggestion: Suggestion) -> SearchResult:
    """Return a suggestion with the address of the page that it leads to."""
    is_similar = suggestion.match is Match.SIMILAR
    return document_of(SearchResult, suggestion, similar=is_similar, address=_address(suggestion))


def _address(suggestion: Suggestion) -> str:
    match suggestion.kind:
        case Kind.FILE:
            return f"/photos/{suggestion.id}"
        case Kind.TRIP:
            return f"/trips/{suggestion.id}"
        case _:
            return address_of("/photos", suggestion.options)
