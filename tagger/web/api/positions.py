"""Where photos were taken, by cells of a grid."""

from typing import Annotated

from fastapi import Query

from tagger.library.query.documents import PositionCellDocument
from tagger.library.query.position_clusters import FINEST_DEGREES, merge_cells, position_cells
from tagger.system.documents import document_of
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


@router.get("/positions")
def positions(state: State, degrees: Degrees = 1.0) -> list[PositionCellDocument]:
    """Count photos by where they were taken, and by where their positions come from."""
    cells = merge_cells(position_cells(state.database), degrees)
    return [document_of(PositionCellDocument, cell) for cell in cells]
