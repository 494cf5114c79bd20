"""Packs under the gear, as `tagger pack`: those that were added, and what is in a file before it is added."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from tagger.errors import TaggerError
from tagger.library.teaching.packs import list_packs, plan_pack
from tagger.system.text_format import gettext
from tagger.web.api.job_starter import Starter
from tagger.web.api.packs import add_uploaded_pack, max_pack_bytes, read_uploaded_pack, remove_added_pack
from tagger.web.http.error_texts import page_text
from tagger.web.http.templates import render
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@router.get("/packs")
def show_packs(request: Request, state: State) -> HTMLResponse:
    """List the packs of the library, and let one be chosen."""
    return _render(request, state)


@router.post("/packs/preview")
async def preview(request: Request, state: State) -> HTMLResponse:
    """Show what is in a pack, and what adding it does."""
    try:
        pack = await read_uploaded_pack(request, state)
        plans = await run_in_threadpool(
            lambda: plan_pack(state.database, state.embedding_model(pack.manifest.embedding.digest), pack)
        )
    except TaggerError as error:
        return await run_in_threadpool(_render, request, state, problem=page_text(error))
    return await run_in_threadpool(_render, request, state, pack=pack, plans=plans)


@router.post("/packs/add")
async def add(
    request: Request,
    state: State,
    starter: Starter,
    digest: Annotated[str, Query(max_length=64)],
    as_job: Annotated[bool, Query()] = False,
) -> Response:
    """Add the pack that was shown, and lead to its job or to all packs."""
    try:
        pack = await read_uploaded_pack(request, state)
        if pack.digest != digest:
            problem = gettext("This is not the pack that was shown. Look at it first.")
            return await run_in_threadpool(_render, request, state, problem=problem)
        added = await run_in_threadpool(add_uploaded_pack, state, starter, pack, as_job=as_job)
    except TaggerError as error:
        return await run_in_threadpool(_render, request, state, problem=page_text(error))
    address = "/packs" if added.job is None else f"/jobs/{added.job}"
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


@router.post("/packs/remove")
def remove(request: Request, state: State, name: Annotated[str, Form(max_length=200)]) -> Response:
    """Remove a pack and its tags."""
    try:
        remove_added_pack(state, name)
    except TaggerError as error:
        return _render(request, state, problem=page_text(error))
    return RedirectResponse("/packs", HTTPStatus.SEE_OTHER)


def _render(request: Request, state: AppState, *, problem: str = "", **shown: object) -> HTMLResponse:
    """Render the page. `shown`: a `pack` and the `plans` of its landmarks."""
    is_refused = problem and "hx-request" not in request.headers  # htmx does not show error responses
    return render(
        request,
        "packs.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if is_refused else HTTPStatus.OK,
        packs=list_packs(state.database),
        max_bytes=max_pack_bytes(state),
        problem=problem,
        **{"pack": None, "plans": (), **shown},
    )
