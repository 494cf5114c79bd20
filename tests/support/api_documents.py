"""The OpenAPI document, once per process: FastAPI takes a fifth of a second for each application."""

from typing import Any

from fastapi import FastAPI


def share_api_documents() -> None:
    """Let applications of the same kind share their document, which tests ask for."""
    compute = FastAPI.openapi
    documents: dict[tuple[str, int], dict[str, Any]] = {}

    def openapi(app: FastAPI) -> dict[str, Any]:
        kind = (app.title, len(app.routes))
        if kind not in documents:
            documents[kind] = compute(app)
        return documents[kind]

    FastAPI.openapi = openapi  # type: ignore[method-assign]
