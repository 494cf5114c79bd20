"""The OpenAPI document, which FastAPI computes in a fifth of a second for each application, once per process."""

from typing import Any

from fastapi import FastAPI


def share_api_documents() -> None:
    """Let applications of the same kind share their document. Tests ask for it to see whether an address is answered."""
    compute = FastAPI.openapi
    documents: dict[tuple[str, int], dict[str, Any]] = {}

    def openapi(app: FastAPI) -> dict[str, Any]:
        kind = (app.title, len(app.routes))
        if kind not in documents:
            documents[kind] = compute(app)
        return documents[kind]

    FastAPI.openapi = openapi  # type: ignore[method-assign]
