"""Packs of landmarks, as `tagger pack`: their files come as uploads, and only what is added is kept of them."""

import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from tagger.database.enums import Priority
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.library.teaching import pack_file
from tagger.library.teaching.pack_file import SIGNATURE_SUFFIX, Pack
from tagger.library.teaching.packs import (
    AddedPack,
    AddedPackDocument,
    PackPlanDocument,
    RemovedPackDocument,
    add_pack,
    added_pack_document,
    find_pack,
    list_packs,
    pack_plan_document,
    plan_pack,
    remove_pack,
    removed_pack_document,
    store_pack,
)
from tagger.settings import signers_file
from tagger.web.api.job_starter import JobStarter, Starter
from tagger.web.api.landmarks import DryRun
from tagger.web.api.routes import BINARY, Problem, api_router, upload_body
from tagger.web.http.query_params import RequestModel
from tagger.web.http.responses import DocumentResponse
from tagger.web.state import AppState, State

router = api_router("packs")

Name = Annotated[str, PathParameter(max_length=pack_file.MAX_NAME, description="A pack that was added.")]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {
        "model": Problem,
        "description": "The pack is damaged or forged, or for another model; the text says which.",
    },
    409: {"model": Problem, "description": "There is a pack with its name already."},
    413: {"model": Problem, "description": "The pack is larger than packs or TAGGER_WEB_UPLOAD_BYTES."},
}


@dataclass(frozen=True)
class NewPackDocument(PackPlanDocument):
    """A pack that was added. `job`: the one that compares the photos; otherwise so many are `compared`, `tagged` and `suggested`."""

    compared: int
    tagged: int
    suggested: int
    job: int | None
    seconds: float


class PackRemovalRequest(RequestModel):
    """Whether to remove the pack."""

    dry_run: DryRun = False


_REMOVAL = PackRemovalRequest()


@router.get("/packs")
def packs(state: State) -> list[AddedPackDocument]:
    """List the packs that were added, by name."""
    return [added_pack_document(pack) for pack in list_packs(state.database)]


@router.get("/packs/{name}")
def pack(state: State, name: Name) -> AddedPackDocument:
    """Return a pack that was added."""
    return added_pack_document(find_pack(state.database, name))


@router.post(
    "/packs",
    status_code=HTTPStatus.CREATED,
    response_model=NewPackDocument | PackPlanDocument,
    openapi_extra=upload_body("application/octet-stream", signature=BINARY),
    responses=_RESPONSES,
)
async def add(
    request: Request,
    state: State,
    starter: Starter,
    dry_run: Annotated[
        bool, Query(description="Respond with what would become of its landmarks, and change nothing.")
    ] = False,
    as_job: Annotated[bool, Query(description="Let workers compare the photos.")] = False,
) -> Response:
    """Add a pack, sent as the body or as a file of a form, with its signature NAME.pack.sig as another one, and tag all photos that show its landmarks."""
    uploaded = await read_uploaded_pack(request, state)
    if dry_run:
        plans = await run_in_threadpool(
            lambda: plan_pack(
                state.database, state.embedding_model(uploaded.manifest.embedding.digest), uploaded
            )
        )
        return DocumentResponse(pack_plan_document(uploaded, plans, dry_run=True))
    added = await run_in_threadpool(add_uploaded_pack, state, starter, uploaded, as_job=as_job)
    return DocumentResponse(added, HTTPStatus.CREATED)


@router.delete("/packs/{name}")
def remove(
    state: State, name: Name, body: Annotated[PackRemovalRequest, Body()] = _REMOVAL
) -> RemovedPackDocument:
    """Remove a pack and its tags. Verdicts stay, and so do landmarks that have one."""
    return removed_pack_document(
        find_pack(state.database, name) if body.dry_run else remove_added_pack(state, name),
        dry_run=body.dry_run,
    )


async def read_uploaded_pack(request: Request, state: AppState) -> Pack:
    """Read the pack of a request and check it, with its signature.

    Raises:
        HTTPException: as `UploadReader.read`.
        PackRefused: as `PackChecker.parse`.
    """
    async with state.uploads.read(request, max_pack_bytes(state), most=2) as files:
        signatures = [each.data for each in files if each.name.endswith(SIGNATURE_SUFFIX)]
        others = [each for each in files if not each.name.endswith(SIGNATURE_SUFFIX)]
        if len(others) != 1:
            text = "Send one pack, and the file NAME.pack.sig if it is signed."
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
        signature = signatures[0] if signatures else None
        file = Path(others[0].name)
        return await run_in_threadpool(
            state.pack_checker.parse, file, others[0].data, signature, signers_file()
        )


def max_pack_bytes(state: AppState) -> int:
    """Return the largest size of a pack."""
    return min(state.settings.web_upload_bytes, pack_file.MAX_BYTES)


def add_uploaded_pack(
    state: AppState, starter: JobStarter, uploaded: Pack, *, as_job: bool
) -> NewPackDocument:
    """Add a pack, and compare all photos with it now or in a job.

    Raises:
        PackRefused, PackExists: as `store_pack`.
        HTTPException: no job can start now; the pack is not added.
    """
    started_at = time.monotonic()
    database, model, name = (
        state.database,
        state.embedding_model(uploaded.manifest.embedding.digest),
        uploaded.manifest.name,
    )
    job, compared = None, 0
    if as_job:
        plans = store_pack(database, model, uploaded)
        try:
            job = starter.start(Backfill(BackfillScope.TAUGHT), Priority.INTERACTIVE)
        except Exception:
            remove_pack(database, name)
            raise
    else:
        plans, compared = add_pack(database, model, uploaded)
        state.taught_updates.request()  # for the positions
    added = find_pack(database, name)
    return NewPackDocument(
        **vars(pack_plan_document(uploaded, plans, dry_run=False)),
        compared=compared,
        tagged=added.tagged,
        suggested=added.suggested,
        job=job,
        seconds=round(time.monotonic() - started_at, 3),
    )


def remove_added_pack(state: AppState, name: str) -> AddedPack:
    """Remove a pack; returns it as it was.

    Raises:
        PackNotFound: there is none with this name.
    """
    removed = remove_pack(state.database, name)
    state.taught_updates.request()  # for the positions
    return removed
