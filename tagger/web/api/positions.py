"""Where photos were taken, by cells of a grid."""

from typing import Annotated, Any

from fastapi import Query

from tagger.library.query.documents import position_cell_document
from tagger.library.query.position_clusters import FINEST_DEGREES, merge_cells, position_cells
from tagger.web.api import schemas
from tagger.web.api.routes import api_router
from tagger.web.state import State

router = api_router("photos")

Degrees = Annotated[
    float,
    Query(
        ge=FINEST_DEGREES,
        le=90,
        description="The least size of a cell. Cells have 0.25 degrees, or two, four, … times as much.",
    ),
]


@router.get("/positions", response_model=list[schemas.PositionCell])
def positions(state: State, degrees: Degrees = 1.0) -> list[dict[str, Any]]:
    """Count photos by where they were taken, and by where their positions come from."""
    cells = merge_cells(position_cells(state.database), degrees)
    return [position_cell_document(cell) for cell in cells]
