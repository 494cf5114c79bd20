"""How many photos each choice of a filter leaves, for the filter panel of the page."""

from typing import Annotated, Any

from fastapi import Depends

from tagger.library.query.facets import Facet
from tagger.web.api import schemas
from tagger.web.api.routes import api_router
from tagger.web.http.query_params import QueryParams, query_params
from tagger.web.state import State

router = api_router("photos")

Params = Annotated[QueryParams, Depends(query_params)]


@router.get("/facets", response_model=list[schemas.Facet])
def facets(state: State, params: Params) -> list[dict[str, Any]]:
    """Count the photos of each choice of a filter, together with all other filters of the query.

    If a query reads very many photos, only the newest are counted: `exact` is false, and a choice has at least as many.
    """
    with params.model_checked():
        return [_document(facet) for facet in state.facet_counts.get(params.query)]


def _document(facet: Facet) -> dict[str, Any]:
    values = [{"value": each.value, "name": each.name, "photos": each.photos} for each in facet.values]
    counts = {"default": facet.default, "more": facet.more}
    return {"facet": facet.facet, "exact": facet.exact, "values": values} | counts
