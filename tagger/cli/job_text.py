"""Jobs as text: their counts and workers, the next steps, and photos whose metadata was not written."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from tagger.cli import console
from tagger.cli.console import (
    count_of,
    first_names,
    local_time,
    printable,
)
from tagger.database import (
    METADATA_KINDS,
    FactProblem,
    JobKind,
    JobState,
    Outcome,
    TagReason,
    TagState,
    VerdictKind,
)
from tagger.database.connection import Database, author_text
from tagger.errors import RedisMisconfigured, TaggerError
from tagger.extensions import install_command
from tagger.jobs.enqueue.job_texts import (
    counts_text,
    duration_text,
    rate_text,
    remaining_text,
    tick_text,
    worker_text,
)
from tagger.ledger.items import (
    EDITED,
    count_refusals,
    count_refusals_with_sidecar,
    unwritten_photos,
)
from tagger.ledger.job_control import (
    JobProgress,
    count_changes,
    find_job,
    has_only_things,
    has_write_option,
    job_options,
    tag_job_paths,
)
from tagger.texts.text_format import list_text, number_text, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tagger.jobs.enqueue.job_json import FoundThing
    from tagger.ledger.workers import LastTick, WorkerStatus
    from tagger.photos.names import OtherFiles
    from tagger.query.photo_json import JobPhoto


PATHS_SHOWN = 2


def gone_text(number: int) -> str:
    """`1 photo is gone`, `2 photos are gone`."""
    return f"{count_of(number, 'photo')} {'is' if number == 1 else 'are'} gone"


def other_files_lines(other_files: OtherFiles) -> list[str]:
    """What a scan left out, and how to read files that need an extra."""
    from tagger.photos.names import needed_extra

    extras = (
        (extension, needed_extra(extension))
        for extension in sorted(other_files.by_extension)
    )
    by_extension = [other_files_text(other_files.count) + other_files.extensions_text()]
    return [
        *other_files.copies_lines(),
        *(by_extension if other_files.count else ()),
        *(
            f"to read {name} files, run: {install_command(extra)}"
            for name, extra in extras
            if extra
        ),
    ]


def other_files_text(count: int) -> str:
    return f"left out by extension: {count_of(count, 'file')}"


# Outcomes whose number is printed although it is zero.
_ALWAYS_SHOWN = {"tagged", "unknown", "written", "undone", "unchanged"}


def job_summary(progress: JobProgress) -> str:
    always = (
        _ALWAYS_SHOWN
        if progress.kind in METADATA_KINDS
        else {*_ALWAYS_SHOWN, "skipped"}
    )
    rate = rate_text(progress.photos_per_second) if progress.total > 1 else ""
    counts = ", ".join(filter(None, (counts_text(progress, always), rate)))
    if progress.tagged_at_end not in (None, progress.tagged):
        tagged, comma, others = counts.partition(", ")
        counts = f"{tagged} now ({progress.tagged_at_end} at its end){comma}{others}"
    action = {"write": ", metadata written", "undo": ", metadata undone"}.get(
        progress.kind, ""
    )
    photos = count_of(progress.total, "photo")
    skipped = count_of(progress.skipped_folders, "folder")
    action += f", {skipped} could not be read" if progress.skipped_folders else ""
    return f"job {progress.job} {progress.state}{action}: {photos}: {counts}"


def job_lines(progress: JobProgress, *, is_served: bool = True) -> list[str]:
    """Everything about one job. `is_served`: workers process jobs now."""
    remainder = ""
    if not progress.is_over:
        remaining = ""
        if is_served or progress.is_local or progress.settling:
            remaining = remaining_text(progress).replace(
                "\N{NARROW NO-BREAK SPACE}", " "
            )
        number = f"{progress.running} running, {progress.queued} queued"
        parts = [remaining] if progress.settling else [number, remaining]
        remainder = f"; {', '.join(filter(None, parts))}"
    about = first_names(progress.paths, PATHS_SHOWN)
    kind = "" if about or progress.kind in METADATA_KINDS else progress.kind
    origin = ", ".join(filter(None, (local_time(progress.created_at), about, kind)))
    author = author_text(progress.author)
    started = f", started by {printable(author)}" if author else ""
    relation = ""
    if progress.parent:
        what = "a retry" if progress.kind == "retry" else "writes the tags"
        relation = f", {what} of job {progress.parent}"
    elif progress.write_job:
        relation = f", its tags are written by job {progress.write_job}"
    models = ", ".join(progress.models) or progress.model
    lines = [
        f"{job_summary(progress)}{remainder} ({origin})",
        f"  model {models}, {progress.priority}, runner {progress.runner}{started}{relation}",
    ]
    if progress.other_files:
        lines.append(f"  {other_files_text(progress.other_files)}")
    if progress.note:
        lines.append(f"  {progress.note}")
    return lines


def overview_lines(
    jobs: Sequence[JobProgress], older_count: int, *, is_served: bool
) -> list[str]:
    """A line for each of the latest jobs, with the note if it is open. `is_served` as for `job_lines`."""
    if not jobs:
        return ["there are no jobs; start one with: tagger tag FOLDER"]
    lines = []
    for job in jobs:
        lines.append(job_lines(job, is_served=is_served)[0])
        if job.note and not job.is_over:
            lines.append(f"  {job.note}")
    if older_count:
        older = count_of(older_count, "older job")
        lines.append(f"… and {older}, finished; to list all, run: tagger job list")
    return lines


def service_lines(
    workers: Sequence[WorkerStatus],
    queues: Mapping[str, int | None],
    redis_problem: TaggerError | None,
    last_tick: LastTick | None,
) -> list[str]:
    depths = ", ".join(
        f"{name} {depth}" for name, depth in queues.items() if depth is not None
    )
    missing = (
        "Redis does not answer"
        if redis_problem
        else "Redis is not running; a worker starts it"
    )
    if isinstance(redis_problem, RedisMisconfigured):
        missing = "Redis cannot be used"
    names = []  # `tagger-1@rack (cpu, working, 51.0 photos/s)`
    for worker in workers:
        is_several = worker.processes > 1
        processes = f", {worker.processes} processes" if is_several else ""
        state = f"{processes}, {worker_text(worker)}"
        if not is_heard(worker):
            state = f", last seen {duration_text(worker.seen_seconds_ago)} ago"
        names.append(f"{worker.name} ({worker.device}{state})")
    lines = [
        f"workers: {', '.join(names) or 'none'}",
        f"queued messages: {depths or missing}",
    ]
    if last_tick is not None:
        lines.append(f"schedules: {tick_text(last_tick)}")
    return lines


# Workers send a heartbeat every 10 s.
SILENT_S = 15.0


def is_heard(worker: WorkerStatus) -> bool:
    """Whether the worker's last heartbeat is recent: one that was killed sends none."""
    return worker.seen_seconds_ago < SILENT_S


def print_next_steps(database: Database, job: int) -> None:
    """Print why photos were skipped, how to see, correct and write the tags of a job, and how to teach."""
    progress = find_job(database, job)
    if progress.state is not JobState.FINISHED or progress.kind in METADATA_KINDS:
        return
    if progress.skipped and progress.kind == JobKind.TAG:
        console.info(
            "skipped: these photos are classified already; to include them, add --again"
        )
    console.info(*unread_lines(database, job))
    if progress.tagged or progress.unknown:
        _print_turned_tags(database, job)
    if progress.tagged:
        _print_tag_commands(database, job)
    if progress.unknown:
        console.info(
            "to name a place that the model does not know, run: tagger teach NAME PHOTO…"
        )


def _print_turned_tags(database: Database, job: int) -> None:
    from tagger.positions.tag_odds import count_turned_photos

    with database.read() as connection:
        accepted = count_turned_photos(connection, job, TagState.ACCEPTED)
        doubtful = count_turned_photos(connection, job, TagState.DOUBTFUL)
    if accepted:
        photos = count_of(accepted, "more photo")
        console.info(
            f"positions brought {photos} a tag: taken near a landmark with a lower score"
        )
    if doubtful:
        photos = count_of(doubtful, "photo")
        console.info(
            f"{photos} with a landmark too far from where the photo was taken: doubtful; "
            "to see why, run: tagger show PHOTO"
        )


def unread_lines(database: Database, job: int) -> list[str]:
    """How many photos of a job have an unreadable date or side file, with the names of the first ones."""
    from tagger.jobs.enqueue.photo_rows import unread_photos

    texts = {
        FactProblem.DATE: "a date that cannot be read",
        FactProblem.SIDE_FILE: "a side file that cannot be read",
    }
    lines = []
    with database.read() as connection:
        for problem, paths in unread_photos(connection, job).items():
            names = first_names(
                [printable(path.rpartition("/")[2]) for path in paths], PHOTOS_SHOWN
            )
            verb = "has" if len(paths) == 1 else "have"
            lines.append(
                f"{count_of(len(paths), 'photo')} {verb} {texts[problem]}: {names}"
            )
    return lines


def _print_tag_commands(database: Database, job: int) -> None:
    paths = tag_job_paths(job_options(database, [job])[job])
    under = path = f"--job {job}"
    if len(paths) == 1:
        path = shlex.quote(str(paths[0]))
        under = f"--under {path}"
    console.info(f"to see the tags, run: tagger query {under}")
    console.info(
        "to correct one, run: tagger reject LANDMARK PHOTO, or: tagger confirm LANDMARK PHOTO"
    )
    if not has_write_option(database, job):
        console.info(
            f"to write them to metadata, run: tagger metadata write {path} --to sidecar"
        )


PHOTOS_SHOWN = 3
LANDMARKS_SHOWN = 20


def job_report(
    database: Database, progress: JobProgress
) -> tuple[dict[str, Any], list[str]]:
    """What a job found, or did not do to metadata: more keys of its document, and lines of text."""
    if progress.kind not in METADATA_KINDS:
        return _landmark_report(database, progress)
    if progress.kind == JobKind.UNDO:
        paths = _edited_photos(database, progress.job)
        lines = _refusal_lines(database, progress, 0)
        return {"edited": paths}, [*lines, *_edited_lines(progress.job, paths)]
    with_sidecar = 0
    if progress.refused:
        with_sidecar = count_refusals_with_sidecar(database, progress.job)
    lines = _refusal_lines(database, progress, with_sidecar)
    return {"refused_with_sidecar": with_sidecar}, lines


def _landmark_report(
    database: Database, progress: JobProgress
) -> tuple[dict[str, Any], list[str]]:
    # The landmarks on the photos of a job, most frequent first, and how many photos have a suggested one.
    from tagger.jobs.enqueue.job_json import job_findings
    from tagger.teaching.lessons import has_likely_suggestion

    findings = job_findings(database, progress.job)
    landmarks, suggested = findings.landmarks, findings.suggested
    of_things = _things_lines(database, progress.job, findings.things)
    is_backfill = progress.kind == JobKind.BACKFILL
    if of_things and is_backfill and has_only_things(database, progress):
        return vars(findings), of_things
    lines = ["Photos  Landmark"] if landmarks else []
    lines += [
        f"{each.photos:6}  {printable(each.name)}"
        for each in landmarks[:LANDMARKS_SHOWN]
    ]
    if (more := len(landmarks) - LANDMARKS_SHOWN) > 0:
        lines.append(f"        and {more} more; to list all, run: tagger landmark list")
    lines += of_things
    if suggested and (landmarks or has_likely_suggestion(database, progress.job)):
        what = "it" if suggested == 1 else "them"
        text = f"{number_text(suggested)} more may show a landmark"
        lines.append(f"{text}; to look at {what}, run: tagger review")
    return vars(findings), lines


def _things_lines(
    database: Database, job: int, things: Sequence[FoundThing]
) -> list[str]:
    # `1,647 photos show things: Animal 474, People 230, …`.
    if not things:
        return []
    from tagger.things import count_photos_with_things

    count = count_photos_with_things(database, job)
    counts = [f"{printable(each.name)} {number_text(each.photos)}" for each in things]
    verb = "shows" if count == 1 else "show"
    return [
        f"{count_of(count, 'photo')} {verb} things: {first_names(counts, LANDMARKS_SHOWN)}"
    ]


def _edited_photos(database: Database, job: int) -> list[str]:
    # The photos with a file or sidecar that another program has changed since the write.
    from tagger.jobs.enqueue.job_json import failure_documents
    from tagger.settings import load_settings  # pydantic

    photos = unwritten_photos(database, job, (EDITED,))
    return [
        each.path for each in failure_documents(database, photos, load_settings().roots)
    ]


def _edited_lines(job: int, paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    names = list(map(printable, paths[:PHOTOS_SHOWN]))
    if len(paths) > PHOTOS_SHOWN:
        names.append(f"and {len(paths) - PHOTOS_SHOWN} more")
    kept = (
        "whose file or sidecar another program has changed since the write. Only tagger's "
        "values were removed"
    )
    return [
        f"edited: {count_of(len(paths), 'photo')} {kept}; the rest stays: {', '.join(names)}",
        f"to list them, run: tagger job failures {job} --kind edited. Delete sidecars that you do not need",
    ]


def _refusal_lines(
    database: Database, progress: JobProgress, with_sidecar: int
) -> list[str]:
    # How many photos were refused, by kind, and what to do about signed ones.
    from tagger.metadata import RefusalKind

    if not progress.refused:
        return []
    counts = count_refusals(database, progress.job)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    others = f"; the tags of {with_sidecar} of them are in sidecars"
    lines = [f"refused: {kinds}{others if with_sidecar else ''}"]
    if signed := counts.get(RefusalKind.SIGNED):
        lines.append(
            f"{count_of(signed, 'photo')} with content credentials (C2PA): a write would break the "
            "signature over the whole file. Their tags go into sidecars; nothing needs to be done"
        )
    return lines


class JobLine(console.ProgressLine):
    def __init__(self, description: str) -> None:
        super().__init__(description)
        self._most_changes = 0

    def show_job(
        self, database: Database, progress: JobProgress, state: str = ""
    ) -> None:
        """Show how far the job is; in its last step, how many changes are left. `state`: as in `show`."""
        if not progress.settling:
            self.show(progress.done, progress.total, progress.photos_per_second, state)
            return
        left = count_changes(database)
        self._most_changes = max(self._most_changes, left)
        self.show_step("locating photos", self._most_changes - left, self._most_changes)


def photo_line(photo: JobPhoto, kind: str) -> str:
    """The line of a photo of a job of this kind: its path, and what the job did with it."""
    outcome, text = photo.outcome, photo.text or photo.reason
    if kind in METADATA_KINDS:
        is_undone = kind == JobKind.UNDO and outcome is Outcome.WRITTEN
        return printable(f"{photo.path}: {'undone' if is_undone else outcome}: {text}")
    match outcome:
        case Outcome.GONE:
            what = "gone"
        case Outcome.FAILED:
            what = f"failed ({photo.reason}): {text}"
        case Outcome.SKIPPED:
            what = f"skipped: {text}"
        case Outcome.TAGGED:
            what = ", ".join(
                _tag_text(tag, name) for tag, name in photo.tags if tag.accepted
            )
        case _:
            facts = [
                *(["a part of the image is missing"] if photo.is_damaged else []),
                *_guesses(photo),
            ]
            what = f"unknown ({'; '.join(facts)})" if facts else "unknown"
    things = (
        f"; shows {list_text([thing.name for thing in photo.things])}"
        if photo.things
        else ""
    )
    return printable(f"{photo.path}: {what}{things}")


def _guesses(photo: JobPhoto) -> list[str]:
    # What a photo without a tag seems to show, and why it has no tag of it.
    by_score = sorted(photo.tags, key=lambda pair: -(pair[0].score or 0.0))
    for tag, name in by_score:
        if tag.doubtful in (TagReason.POSITION, TagReason.SPEED):
            return [
                f"doubtful: {_scored(tag, name)}, too far from where the photo was taken"
            ]
    if photo.guess is not None:
        return [f"best prediction: {_scored(*photo.guess)}"]
    if by_score and by_score[0][0].verdict == VerdictKind.REJECTED:
        return [f"rejected: {_scored(*by_score[0])}"]
    return []


def _tag_text(tag: Any, name: str) -> str:
    # `Eiffel Tower 93% (taught)`, or `Eiffel Tower 71%, accepted since it was taken 332 m away`.
    if tag.reason:
        from tagger.query.tagged_photos import tag_reason  # SQLAlchemy

        return f"{_scored(tag, name)}, {tag_reason(tag, None, ())}"
    words = {"taught": "taught", "verdict": "confirmed"}.get(tag.source)
    return f"{_scored(tag, name)}{f' ({words})' if words else ''}"


def _scored(tag: Any, name: str) -> str:
    return name if tag.score is None else f"{name} {percent(tag.score)}"
