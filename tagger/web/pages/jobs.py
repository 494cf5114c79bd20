"""The pages of jobs: the list with schedules and workers, one job with its failures, starting new ones.

A job is started over a folder now, which may be a new one, or over one every night.

Every button is a form and works without JavaScript; a script only updates the numbers, by live events with
the same texts.
"""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from tagger.database import METADATA_KINDS, JobKind, JobState, Priority
from tagger.database.connection import author_text
from tagger.errors import FailureKind, TaggerError
from tagger.jobs.enqueue.job_texts import (
    backfill_text,
    counts_text,
    job_about,
    job_title,
    note_text,
    rate_text,
    remaining_text,
    time_text,
    worker_text,
)
from tagger.jobs.enqueue.metadata_jobs import Undo, has_job_writes
from tagger.jobs.enqueue.schedules import (
    ScheduleDocument,
    add_schedule,
    explain_cron,
    list_schedules,
    local_zone,
    pause_schedule,
    remove_schedule,
)
from tagger.jobs.enqueue.submission import (
    BackfillScope,
)
from tagger.jobs.processing.metadata_preview import preview_photos
from tagger.ledger.items import (
    FailureFilter,
    count_failures,
    count_refusals_with_sidecar,
)
from tagger.ledger.job_control import (
    JobProgress,
    find_job,
    has_only_things,
    job_options,
    list_older_jobs,
)
from tagger.ledger.workers import LastTick
from tagger.photos.paths import parse_path
from tagger.query.counts import landmark_counts, trip_summaries
from tagger.teaching.lessons import count_suggestions
from tagger.texts.text_format import (
    N_,
    gettext,
    list_text,
    moment_text,
    ngettext,
    number_text,
    percent,
    reader_language,
    reader_zone,
    rounded_duration,
    share,
)
from tagger.things import count_things
from tagger.web.access import Role, may_allow_folder, requires
from tagger.web.api import jobs as api
from tagger.web.api.job_starter import (
    BackfillRequest,
    FolderEntry,
    FolderKey,
    FolderRefused,
    Key,
    RetryRequest,
    TaggingOptions,
    UndoRequest,
    WriteMode,
    allowed_folders,
    check_schedule,
    list_subfolders,
    path_of_key,
    run_schedule,
    start_tagging,
    write_modes,
)
from tagger.web.api.jobs import (
    JOBS_SHOWN,
    JobNumber,
    OverviewDocument,
    failures_page,
    read_status,
    redis_text,
    waiting_reason,
)
from tagger.web.errors import FAILURES, REFUSALS, page_text
from tagger.web.pages.library import extent_of, live_map, render_map
from tagger.web.pages.photo import PREVIEWS, changes_in_words
from tagger.web.pages.photos import landmark_name
from tagger.web.routes import ONE_LINE, RequestModel
from tagger.web.state import AppState, State
from tagger.web.templating import render

STATE_COLOURS = {
    JobState.RUNNING: "sure",
    JobState.SCANNING: "sure",
    JobState.WAITING: "open",
    JobState.PAUSED: "open",
}


@dataclass(frozen=True)
class JobView(JobProgress):
    """A job on a page. `about`: its backfill, or the job that it undoes. `time`: when it finished, or began.

    `took`: how long it took if it is over: `12 min`. `author_text`: who started it; empty if nobody knows.
    `live`: what changes while it runs (see `_live_fields`).
    """

    title: str
    about: str
    time: datetime
    time_text: str
    took: str
    colour: str
    is_writing: bool
    author_text: str
    live: Mapping[str, str]


def _job_view(job: JobProgress, options: Mapping[str, Any]) -> JobView:
    took, when = "", gettext("since %(time)s", time=time_text(job.created_at))
    if job.finished_at is not None:
        duration = job.finished_at - (job.started_at or job.created_at)
        took, when = (
            rounded_duration(duration.total_seconds()),
            time_text(job.finished_at),
        )
    return JobView(
        **vars(job),
        title=job_title(job, options),
        about=job_about(options),
        time=job.finished_at or job.created_at,
        time_text=when,
        took=took,
        colour=STATE_COLOURS.get(job.state, ""),
        is_writing=job.kind in METADATA_KINDS,
        author_text=author_text(job.author),
        live=_live_fields(job),
    )


def _live_fields(job: JobProgress) -> Mapping[str, str]:
    # The texts of a job that change while it runs, and the length of its progress bar.
    done = job.total - job.queued - job.running
    part = done / job.total if job.total else float(job.is_over)
    is_paused = job.state == JobState.PAUSED
    state = gettext(job.state)
    if is_paused and job.running:
        state = ngettext(
            "pausing, %(count)s photo in progress",
            "pausing, %(count)s photos in progress",
            job.running,
        )
    done_text = ngettext(
        "%(done)s of %(count)s photo",
        "%(done)s of %(count)s photos",
        job.total,
        done=number_text(done),
    )
    if job.is_over:
        done_text = ngettext("%(count)s photo", "%(count)s photos", job.total)
    return {
        "state": state,
        "done": done_text,
        "percent": percent(part),
        "share": share(part),
        "rate": "" if is_paused else rate_text(job.photos_per_second),
        "remaining": "" if job.is_over or is_paused else remaining_text(job),
        "counts": counts_text(job),
        "note": note_text(job.note, job.note_message),
    }


def page_version(state: AppState, status: OverviewDocument) -> str:
    parts = (
        [(job.job, job.state, job.write_job, bool(job.failed)) for job in status.jobs],
        [worker.name for worker in status.workers],
        status.last_tick and status.last_tick.is_late,
        status.problem,
        waiting_reason(state, status),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def live_document(state: AppState, status: OverviewDocument) -> dict[str, Any]:
    jobs = [vars(job) | {"shown": _live_fields(job)} for job in status.jobs]
    # What changes all the time, like the seconds since the last heartbeat or tick, is left out.
    workers = [
        {
            name: value
            for name, value in vars(worker).items()
            if name != "seen_seconds_ago"
        }
        | {"shown": worker_text(worker)}
        for worker in status.workers
    ]
    tick = (
        None
        if status.last_tick is None
        else {"shown": last_tick_text(status.last_tick)}
    )
    return vars(status) | {
        "jobs": jobs,
        "workers": workers,
        "last_tick": tick,
        "version": page_version(state, status),
        "waits": waiting_reason(state, status),
        "to_review": count_suggestions(state.database),
    }


def last_tick_text(last_tick: LastTick) -> str:
    if last_tick.at is None:
        return gettext("Not checked yet")
    return gettext("Last checked: %(time)s", time=time_text(last_tick.at))


# Failures that may pass without a change of the file.
TRANSIENT_KINDS = {
    FailureKind.GONE,
    FailureKind.UNREADABLE,
    FailureKind.UNREACHABLE,
    FailureKind.SETTLING,
    FailureKind.TIMED_OUT,
    FailureKind.INTERNAL,
}

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

FAILURES_PER_PAGE = 48
OLDER_PER_PAGE = 50
# What a job with more photos finds is counted at its end: pages ask again every few seconds.
MOST_COUNTED = 20_000


@router.get("/jobs")
@requires(Role.VIEWER)
def show_jobs(request: Request, state: State) -> HTMLResponse:
    return render_jobs(request, state)


def render_jobs(
    request: Request,
    state: AppState,
    problem: str = "",
    status_code: HTTPStatus = HTTPStatus.OK,
    done: str = "",
) -> HTMLResponse:
    status = read_status(state, JOBS_SHOWN)
    jobs = _job_views(state, status.jobs)
    return render(
        request,
        "jobs.html",
        status_code,
        open_jobs=[job for job in jobs if not job.is_over],
        recent_jobs=[job for job in jobs if job.is_over],
        older=status.older,
        workers=status.workers,
        worker_text=worker_text,
        waiting_reason=(status.problem and redis_text(status.problem))
        or waiting_reason(state, status),
        has_own_worker=state.has_own_worker,
        version=page_version(state, status),
        last_tick=status.last_tick,
        last_tick_text=last_tick_text,
        schedules=[
            (each, _schedule_texts(state, each))
            for each in list_schedules(state.database)
        ],
        may_choose=bool(allowed_folders(state).folders),
        may_allow=may_allow_folder(request),
        problem=problem,
        done=done,
    )


AT_NIGHT = "03:00"
MAX_NAME_LENGTH = 100
# Names of the folders in which people have photos, in lower case.
PHOTO_FOLDERS = {
    *("pictures", "photos", "dcim", "images", "camera uploads", "my pictures"),
    *(
        "bilder",
        "fotos",
        "imágenes",
        "imagens",
        "immagini",
        "foto",
        "afbeeldingen",
        "billeder",
    ),
    *(
        "kuvat",
        "obrazy",
        "obrázky",
        "képek",
        "resimler",
        "hình ảnh",
        "चित्र",
        "изображения",
    ),
    *("картинки", "зображення", "εικόνες", "图片", "圖片", "ピクチャ", "사진"),
}
# Where disks are mounted, and where Windows has the homes of people.
DISKS = (("/media", "*/*"), ("/run/media", "*/*"), ("/Volumes", "*"))
NAMED_SO = (("/mnt", "*"), ("/mnt", "*/*"), ("/mnt", "*/Users/*/*"))
MOST_PHOTO_FOLDERS = 12
WRITE_TEXTS = {
    WriteMode.NONE: N_("No"),
    WriteMode.SIDECAR: N_("Into XMP sidecar files"),
    WriteMode.EMBED: N_("Into the photos"),
}


class FolderForm(TaggingOptions):
    """A job over a folder, or over what an `address` names. `consent`: also where the page has no access."""

    folder: Key = ""
    address: Key = ""
    consent: bool = False


class NightlyForm(RequestModel):
    scan: Key
    time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = AT_NIGHT
    write: WriteMode = WriteMode.NONE


@router.get("/jobs/new")
@requires(Role.EDITOR)
def show_new(
    request: Request, state: State, folder: Annotated[str, Query(max_length=8192)] = ""
) -> Response:
    return _render_new(request, state, folder)


@router.post("/jobs/new")
@requires(Role.EDITOR)
def start_folder(
    request: Request, state: State, form: Annotated[FolderForm, Form()]
) -> Response:
    try:
        path = form.address.strip()
        allowed = allowed_folders(state)
        if form.consent and may_allow_folder(request):
            # The job records the folder as a root, which is allowed from then on.
            allowed = allowed.with_all()
            # A user who does not exist is no error.
            path = os.path.expanduser(path)  # noqa: PTH111
            if path and not parse_path(path).is_absolute():
                text = gettext(
                    "%(path)s does not say where the folder is. Write the whole path, like %(like)s."
                )
                values = {"path": path, "like": "/home/ada/Pictures"}
                raise HTTPException(HTTPStatus.CONFLICT, text % values)  # noqa: TRY301
        job = start_tagging(state, allowed, [path or path_of_key(form.folder)], form)
    except (TaggerError, HTTPException) as error:
        return _refuse(request, state, form.folder, error, form)
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


@router.post("/jobs/nightly")
@requires(Role.EDITOR)
def add_nightly(
    request: Request, state: State, form: Annotated[NightlyForm, Form()]
) -> Response:
    try:
        body = BackfillRequest(
            what=BackfillScope.UNTAGGED,
            scan=[FolderKey(key=form.scan)],
            write=form.write,
        )
        backfill = body.backfill(state)
        backfill.check(state.database, state.settings.roots)
        folder = path_of_key(form.scan)
        name = "".join(filter(str.isprintable, Path(folder).name or folder))
        title = " ".join(
            gettext("New photos in %(folder)s", folder=name[:MAX_NAME_LENGTH]).split()
        )
        hour, minute = map(int, form.time.split(":"))
        cron = f"{minute} {hour} * * *"
        zone = reader_zone()
        add_schedule(
            state.database,
            title,
            cron,
            backfill,
            Priority.BULK,
            None if zone is None else zone.key,
            follows_links=False,
        )
    except (TaggerError, HTTPException) as error:
        return _refuse(request, state, "", error, form)
    return RedirectResponse("/jobs#schedules", HTTPStatus.SEE_OTHER)


def _refuse(
    request: Request,
    state: AppState,
    key: str,
    error: TaggerError | HTTPException,
    form: RequestModel,
) -> HTMLResponse:
    # Render the page with the reason, and with what was chosen; without the folder if that is refused.
    if isinstance(error, HTTPException):
        status, problem = HTTPStatus(error.status_code), error.detail
    else:
        status, problem = HTTPStatus.CONFLICT, page_text(error)
    chosen = form.model_dump()
    try:
        return _render_new(request, state, key, problem, status, chosen)
    except (TaggerError, FolderRefused):
        return _render_new(request, state, "", problem, status, chosen)


def _render_new(
    request: Request,
    state: AppState,
    key: str,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
    chosen: dict[str, Any] | None = None,
) -> HTMLResponse:
    # Render the page. `chosen` are the fields of a form that was refused.
    allowed = allowed_folders(state)
    may_allow = may_allow_folder(request)
    places = [*allowed.folders]
    if may_allow:
        places += [each for each in _photo_folders() if not allowed.includes(each)]
    browsed = allowed.with_all() if may_allow else allowed
    folder = browsed.check(path_of_key(key)) if key else None
    if folder is None and places:
        try:
            folder = browsed.check(places[0])
        except TaggerError as error:
            problem = problem or page_text(error)
    subfolders, more = list_subfolders(folder) if folder else ((), 0)
    breadcrumbs = browsed.breadcrumbs(folder) if folder else ()
    return render(
        request,
        "jobs_new.html",
        status,
        selected=FolderEntry(folder) if folder else None,
        breadcrumbs=[FolderEntry(path) for path in breadcrumbs],
        folders=[FolderEntry(path) for path in subfolders],
        more=more,
        places=[FolderEntry(path) for path in places],
        choices=[FolderEntry(path) for path in allowed.folders],
        needs_consent=may_allow and not (folder and allowed.includes(folder)),
        writes={
            mode: gettext(WRITE_TEXTS[mode]) for mode in write_modes(state.settings)
        },
        problem=problem,
        chosen=chosen or {},
        at_night=AT_NIGHT,
        may_allow=may_allow,
        uploads=state.upload_folder.folder,
        waiting_reason=waiting_reason(state, read_status(state, 0)),
        zone=reader_zone() or local_zone() or time.tzname[0],
    )


def _photo_folders() -> list[Path]:
    # The folders in which people have photos: of their home, of disks; and the home, for others in it.
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - a container's user may have none
    folders: list[Path] = []
    for place, pattern in ((home, "*"), *DISKS, *NAMED_SO):
        is_disk = (place, pattern) in DISKS
        with suppress(OSError):
            folders += sorted(
                each
                for each in Path(place).glob(pattern)
                if is_disk or each.name.casefold() in PHOTO_FOLDERS
            )
    return [each for each in (*folders[:MOST_PHOTO_FOLDERS], home) if each.is_dir()]


@router.get("/jobs/older")
@requires(Role.VIEWER)
def show_older_jobs(
    request: Request, state: State, before: Annotated[int, Query(ge=1, lt=2**63)]
) -> HTMLResponse:
    older = list_older_jobs(state.database, before, OLDER_PER_PAGE + 1)
    jobs = _job_views(state, older[:OLDER_PER_PAGE])
    return render(
        request, "jobs_older.html", jobs=jobs, more=len(older) > OLDER_PER_PAGE
    )


@router.get("/jobs/{job}")
@requires(Role.VIEWER)
def show_job(
    request: Request,
    state: State,
    job: JobNumber,
    after: Annotated[int, Query(ge=-1, lt=2**63)] = -1,
) -> HTMLResponse:
    progress = find_job(state.database, job)
    (view,) = _job_views(state, [progress])
    status = read_status(state, JOBS_SHOWN)
    # What failed in an open job; of one that is over, all of its photos that fail now.
    failing, next_after = failures_page(
        state.database,
        progress,
        FAILURES_PER_PAGE,
        after,
        is_processed=not progress.is_over,
    )
    retriable: Mapping[str, int] = {}
    if progress.is_over and not view.is_writing:
        retriable = count_failures(state.database, FailureFilter(job))
    has_photos = progress.total > 0 and not progress.items_removed
    return render_map(
        request,
        state.settings,
        "job.html",
        job=view,
        time_text=time_text,
        found=_found(state, progress, status),
        lists_photos=has_photos
        and (progress.is_over or progress.tagged + progress.unknown > 0),
        refused_with_sidecar=count_refusals_with_sidecar(state.database, job)
        if progress.refused
        else 0,
        failing=failing,
        next_after=next_after,
        after=after,
        retriable=retriable,
        retry_helps=any(kind in TRANSIENT_KINDS for kind in retriable),
        waiting_reason=None if progress.is_over else waiting_reason(state, status),
        version=page_version(state, status),
        kind_words=REFUSALS if view.is_writing else FAILURES,
        may_undo=progress.is_over
        and WriteMode.SIDECAR in write_modes(state.settings)
        and has_job_writes(state.database, job),
    )


def _found(
    state: AppState, job: JobProgress, status: OverviewDocument
) -> Mapping[str, object]:
    # The landmarks and things that a job found. Of the first job, the trips and places of the library, too.
    found: dict[str, object] = dict.fromkeys(
        ("landmarks", "covers", "trips", "things", "map")
    )
    if job.kind in METADATA_KINDS:
        return found
    if job.is_over or job.total <= MOST_COUNTED:
        found["things"] = sorted(
            count_things(state.database, job.job), key=lambda each: -each.photos
        )
        is_of_things = (
            found["things"]
            and job.kind == JobKind.BACKFILL
            and has_only_things(state.database, job)
        )
        if not is_of_things:
            found["landmarks"] = landmark_counts(state.database, job=job.job)
    found["covers"] = state.overview.covers.get_soon() or {}
    others = [each for each in status.jobs if job.job not in (each.job, each.parent)]
    if not others and not status.older:
        found["trips"] = trip_summaries(state.database)
        cells = state.overview.position_cells.get_soon() if job.is_over else None
        found["map"] = cells and live_map(state.settings, extent_of(cells))
    return found


@router.post("/jobs/{job}/undo")
@requires(Role.EDITOR)
def undo(
    request: Request,
    state: State,
    job: JobNumber,
    is_confirmed: Annotated[bool, Form()] = False,
) -> Response:
    undone = api.undo(state, job, UndoRequest(dry_run=not is_confirmed))
    if isinstance(undone, api.Job):
        return RedirectResponse(f"/jobs/{undone.job}", HTTPStatus.SEE_OTHER)
    first = next(Undo(job).photo_id_pages(state.database, state.settings.roots), ())[
        :PREVIEWS
    ]
    return render(
        request,
        "job_undo.html",
        job=job,
        planned=undone,
        fields=list_text(list(map(gettext, undone.fields))),
        previews=list(preview_photos(state.database, state.settings, first, None, job)),
        changes_in_words=changes_in_words,
    )


@router.post("/jobs/schedules/{action}")
@requires(Role.EDITOR)
def change_schedule(
    request: Request,
    state: State,
    action: Literal["pause", "resume", "run", "remove"],
    name: Annotated[str, Form(), ONE_LINE],
) -> Response:
    match action:
        case "remove":
            remove_schedule(state.database, name)
        case "run":
            run = run_schedule(state, name)
            reason = note_text(run.note, run.note_message)
            if run.found_nothing:
                return render_jobs(request, state, done=f"{name}: {reason}.")
            if run.job is None:
                problem = gettext(
                    "%(name)s did not run: %(reason)s.", name=name, reason=reason
                )
                return render_jobs(request, state, problem, HTTPStatus.CONFLICT)
            return RedirectResponse(f"/jobs/{run.job}", HTTPStatus.SEE_OTHER)
        case _:
            if action == "resume":  # the page must be allowed to run it
                check_schedule(state, name)
            pause_schedule(state.database, name, paused=action == "pause")
    return RedirectResponse("/jobs#schedules", HTTPStatus.SEE_OTHER)


@router.post("/jobs/{job}/retry")
@requires(Role.EDITOR)
def retry(
    state: State,
    job: JobNumber,
    kind: Annotated[FailureKind | None, Form()] = None,
) -> Response:
    retried = api.retry(state, job, RetryRequest(kind=[kind] if kind else []))
    return RedirectResponse(f"/jobs/{retried.job or job}", HTTPStatus.SEE_OTHER)


@router.post("/jobs/{job}/{action}")
@requires(Role.EDITOR)
def control(
    request: Request,
    state: State,
    job: JobNumber,
    action: Literal["pause", "resume", "cancel"],
    back: Annotated[str, Form()] = "",
) -> Response:
    controls = {"pause": api.pause, "resume": api.resume, "cancel": api.cancel}
    try:
        controls[action](state, job)
    except TaggerError as error:
        find_job(state.database, job)
        return render_jobs(request, state, page_text(error), HTTPStatus.CONFLICT)
    return RedirectResponse(
        "/jobs" if back == "jobs" else f"/jobs/{job}", HTTPStatus.SEE_OTHER
    )


def _job_views(state: AppState, jobs: Sequence[JobProgress]) -> list[JobView]:
    # Present these jobs, with the name of a landmark in place of its slug.
    shown = job_options(state.database, [job.job for job in jobs])
    for options in shown.values():
        if slugs := options.get("landmark"):
            slugs = [slugs] if isinstance(slugs, str) else slugs
            options["landmark"] = [
                landmark_name(state.database, each) for each in slugs
            ]
    views = [_job_view(job, shown[job.job]) for job in jobs]
    sent = state.upload_folder.folder
    return [
        replace(view, title=gettext("Tag sent photos"))
        if view.paths and all(Path(path).is_relative_to(sent) for path in view.paths)
        else view
        for view in views
    ]


def _schedule_texts(state: AppState, schedule: ScheduleDocument) -> dict[str, object]:
    # What the page says of a schedule: `what` it tags, `when`, and when it is `due` next.
    backfill = schedule.backfill
    names = tuple(
        landmark_name(state.database, each) for each in backfill.query.landmark
    )
    backfill = replace(backfill, query=replace(backfill.query, landmark=names))
    return {
        "what": backfill_text(backfill),
        "when": f"{_cron_text(schedule)} ({schedule.zone})",
        "due": moment_text(schedule.next_due),
    }


def _cron_text(schedule: ScheduleDocument) -> str:
    # When the schedule runs; a daily one in the reader's language, others in English or as written.
    minute, hour, *others = schedule.cron.split()
    if not (others == ["*"] * 3 and minute.isdecimal() and hour.isdecimal()):
        if reader_language() is None:
            return explain_cron(schedule.cron, schedule.until)
        until = gettext("until %(time)s", time=schedule.until) if schedule.until else ""
        return ", ".join(filter(None, (schedule.cron, until)))
    start = f"{int(hour):02}:{int(minute):02}"
    if schedule.until:
        return gettext(
            "every day at %(start)s, until %(end)s", start=start, end=schedule.until
        )
    return gettext("every day at %(start)s", start=start)
