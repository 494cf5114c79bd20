"""Registered models, as `tagger model list`. Registering a model requires access to the server's files, so the API cannot."""

from typing import Any

from tagger.library.catalog.registered_models import list_models
from tagger.library.query.documents import model_document
from tagger.web.api.routes import api_router
from tagger.web.api.schemas import Model
from tagger.web.state import State

router = api_router("models")


@router.get("/models", response_model=list[Model])
def models(state: State) -> list[dict[str, Any]]:
    """List the registered models."""
    return [model_document(model) for model in list_models(state.database)]
