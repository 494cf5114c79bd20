"""How many photos each choice of a filter leaves, for the filter panel of the page."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends

from tagger.library.query.facets import Facet
from tagger.web.api.routes import api_router
from tagger.web.http.query_params import QueryParams, query_params
from tagger.web.state import State

router = api_router("photos")

Params = Annotated[QueryParams, Depends(query_params)]


@router.get("/facets")
def facets(state: State, params: Params) -> Sequence[Facet]:
    """Count the photos of each choice of a filter, together with all other filters of the query.

    If a query reads very many photos, only the newest are counted: `exact` is false, and a choice has at least as many.
    """
    with params.model_checked():
        return state.facet_counts.get(params.query)
