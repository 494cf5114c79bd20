"""Models: the same as `tagger model list`. They are registered and put in use on the server alone, by whoever may name a file."""

from typing import Annotated, Any

from fastapi import Depends

from tagger.documents import model_document
from tagger.registry import list_models
from tagger.web.api.routing import api_router
from tagger.web.api.shapes import Model
from tagger.web.place import Place, place_of

router = api_router("models")


@router.get("/models", response_model=list[Model])
def models(place: Annotated[Place, Depends(place_of)]) -> list[dict[str, Any]]:
    """The registered models."""
    return [model_document(model) for model in list_models(place.database)]
