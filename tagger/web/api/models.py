"""Registered models, as `tagger model list`. Registering a model requires access to the server's files, so the API cannot."""

from tagger.library.catalog.registered_models import list_models
from tagger.library.query.documents import ModelDocument, model_document
from tagger.web.api.routes import api_router
from tagger.web.state import State

router = api_router("models")


@router.get("/models")
def models(state: State) -> list[ModelDocument]:
    """List the registered models."""
    return [model_document(model) for model in list_models(state.database)]
