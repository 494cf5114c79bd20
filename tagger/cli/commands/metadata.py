"""`tagger metadata …`: show the metadata of photos, write tags to it, and undo what was written.

What a write would change is printed for each file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tagger.cli import console
from tagger.cli.console import (
    count_of,
    first_names,
    printable,
    write_json,
    write_json_list,
    write_table,
)
from tagger.cli.help import argument, flag, option, with_option_groups
from tagger.cli.job_submission import finish_in_process, finish_job, submit_job
from tagger.cli.options import (
    Description,
    DryRun,
    Gps,
    GpsEstimated,
    Json,
    Limit,
    MaxErrorKm,
    PriorityName,
    QueryOptions,
    Wait,
    WithThings,
    WriteOptions,
)
from tagger.cli.program import Session, open_for_reading, open_session
from tagger.database import Priority, Target
from tagger.errors import PhotoFailed, SystemRefused
from tagger.jobs.enqueue.metadata_jobs import Undo, Write
from tagger.jobs.enqueue.submission import MetadataOptions
from tagger.jobs.processing.metadata_preview import (
    MetadataPreview,
    changed_fields,
    count_forgotten,
    preview_photos,
    recorded_sidecars,
)
from tagger.ledger.job_control import count_changes, find_job
from tagger.metadata import WriteFailed, WriteRefused
from tagger.metadata.photo_files import (
    TAGGER_RECORD,
    Fields,
    WrittenFile,
    exif_refusal,
    files_with_our_values,
    find_photo_files,
    is_sidecar_name,
    photo_fields,
    xmp_fields,
    xmp_packet,
)
from tagger.metadata.plans import FilePlan
from tagger.metadata.xmp import WrittenLandmark, written_landmarks
from tagger.photos.formats import detect_format
from tagger.photos.paths import parse_path
from tagger.photos.side_files import SIDECAR_MAX_BYTES
from tagger.photos.source import check_exists, read_named, require_writable
from tagger.query.photo_conditions import require_folders
from tagger.roots import is_stored, list_roots

metadata_app = typer.Typer(
    help="Write tags to the metadata of photos, for other programs. Only these and --write change metadata.",
    no_args_is_help=True,
)

TAKE_OVER = "run: tagger tag FOLDER --write sidecar, then: tagger metadata undo FOLDER"
SHOWN_FILES = 3

Enqueue = Annotated[
    bool,
    flag("--enqueue", "Create a job for the workers instead, and print its number."),
]


@metadata_app.command("show")
def show(
    file: Annotated[Path, argument("FILE", "A photo or a sidecar file.")],
    json: Json = False,
) -> None:
    """Show the metadata fields of a photo and its sidecar file, side by side.

    Example: tagger metadata show holiday/IMG_0042.jpg
    """
    settings, database = open_for_reading(is_needed=False)
    sidecars = recorded_sidecars(database, parse_path(file), settings.roots)
    state = metadata_state(file, settings.max_bytes, sidecars)
    if json:
        write_json(state)
    else:
        print_state(state)
    if state.lost:
        raise typer.Exit(console.SOME_PHOTOS_FAILED)


@metadata_app.command("write")
@with_option_groups
def write(
    paths: Annotated[
        list[Path] | None,
        argument(
            "PATH", "Photos and folders, like --under. (default: all tagged photos)"
        ),
    ] = None,
    *,
    to: Annotated[
        Literal["sidecar", "embed"],
        option(
            "--to",
            "sidecar|embed",
            "sidecar: an .xmp file next to the photo, which does not change. embed: the photo itself.",
        ),
    ],
    gps: Gps = False,
    gps_estimated: GpsEstimated = False,
    max_error_km: MaxErrorKm = None,
    description: Description = False,
    things: WithThings = False,
    query_options: QueryOptions,
    limit: Limit = None,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = Priority.BULK,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write the accepted tags of the photos that match to their metadata.

    Files that are up to date are not changed, so you can interrupt the command and run it again. Tags
    rejected since, and positions no longer estimated, are removed.

    For example:

    tagger metadata write ~/Pictures --to sidecar --dry-run

    tagger metadata write ~/Pictures/Paris --to embed --gps-estimated
    """
    options = WriteOptions(to, gps, gps_estimated, max_error_km, description, things)
    metadata = options.written()
    priority = _job_priority(priority, enqueue=enqueue, wait=wait, dry_run=dry_run)
    query = query_options.parse(
        under=(*(paths or ()), *(query_options.under or ())), limit=limit
    )
    settings, database = session = open_session(settle_jobs=True)
    require_folders(database, query.under, settings.roots)
    request = Write(metadata, query)
    if dry_run:
        pages = request.photo_id_pages(database, settings.roots)
        print_differences(_previews(session, pages, metadata), json=json)
        if metadata.max_error_m is not None and count_changes(database):
            console.warning("positions are not up to date; run: tagger locate")
        return
    job, _ = submit_job(session, request, priority, "photos", local=not enqueue)
    finish_job(session, job, wait=wait, json=json)


@metadata_app.command("undo")
def undo(
    paths: Annotated[list[Path] | None, argument("PATH", "Photos and folders.")] = None,
    job: Annotated[
        int | None,
        option(
            "--job",
            "JOB",
            "Undo what this job wrote.",
            min=1,
            max=2**63 - 1,
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, flag("--all", "Undo everything that was ever written.")
    ] = False,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = Priority.BULK,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Undo what tagger wrote to photos and sidecar files, and nothing else.

    A file that no other program has changed since becomes identical to the original. From other files, only
    the values that tagger wrote are removed. The tags in the database stay. Afterwards, files that still hold
    tags of tagger are named: no job of this database wrote them, or it could not undo them.

    For example:

    tagger metadata undo ~/Pictures/Paris --dry-run

    tagger metadata undo --job 7
    """
    if not paths and job is None and not everything:
        raise typer.BadParameter(
            "name photos or folders, or use --job JOB or --all", param_hint="PATH"
        )
    if everything and (paths or job is not None):
        raise typer.BadParameter(
            "it cannot be combined with PATH or --job", param_hint="--all"
        )
    priority = _job_priority(priority, enqueue=enqueue, wait=wait, dry_run=dry_run)
    settings, database = session = open_session(settle_jobs=True)
    files = tuple(map(parse_path, paths or ()))
    _check_targets(session, files, job)
    request = Undo(job, files)
    logged = request.photo_id_pages(database, settings.roots)
    if dry_run:
        print_differences(_previews(session, logged, undo_job=job), json=json)
        return
    code = console.DONE
    has_job = next(logged, None) is not None
    if has_job:
        number, _ = submit_job(session, request, priority, "photos", local=not enqueue)
        if enqueue:
            finish_job(session, number, wait=wait, json=json)
            return
        code = finish_in_process(session, number, json=json)
    elif json:
        write_json({"job": None, "total": 0})
    is_complete = _name_what_is_left(session, files, job)
    if is_complete and not has_job:
        console.info(
            "nothing is left to undo: neither the database nor a file there has written metadata"
            if job is None
            else f"nothing of job {job} is left to undo: it wrote nothing, or this was undone or "
            "written again later"
        )
    raise typer.Exit(
        code or (console.DONE if is_complete else console.SOME_PHOTOS_FAILED)
    )


def _name_what_is_left(
    session: Session, files: Sequence[Path], job: int | None
) -> bool:
    settings, database = session
    searched = files
    if not files and job is None:
        with database.read() as connection:
            searched = [root.folder for root in list_roots(connection, settings.roots)]
    left = files_with_our_values(searched if job is None else (), settings.max_bytes)
    paths = [printable(str(path)) for path in dict.fromkeys(left)]
    if paths:
        console.warning(
            f"tags of tagger are still in {count_of(len(paths), 'file')}, which no job of this database "
            f"wrote or could undo: {first_names(paths, SHOWN_FILES)}; "
            f"to undo what another database wrote, {TAKE_OVER}; else restore them from a backup"
        )
    forgotten = 0 if files else count_forgotten(database, job)
    if forgotten:
        console.warning(
            f"{count_of(forgotten, 'written file')} belong to photos that were removed from the database; "
            f"to undo them, {TAKE_OVER}"
        )
    return not (paths or forgotten)


def _job_priority(
    priority: Priority, *, enqueue: bool, wait: bool, dry_run: bool
) -> Priority:
    # The priority of the job: workers run it with --enqueue, this process otherwise.
    if wait and not enqueue:
        raise typer.BadParameter("it needs --enqueue", param_hint="--wait")
    if enqueue and dry_run:
        raise typer.BadParameter(
            "it cannot be combined with --enqueue", param_hint="--dry-run"
        )
    return priority if enqueue else Priority.INTERACTIVE


def _check_targets(session: Session, paths: Iterable[Path], job: int | None) -> None:
    if job is not None:
        find_job(session.database, job)
    require_writable(paths)
    for path in paths:
        if not is_stored(session.database, path, session.settings.roots):
            check_exists(path)


def _previews(
    session: Session,
    pages: Iterable[Sequence[int]],
    metadata: MetadataOptions | None = None,
    undo_job: int | None = None,
) -> Iterator[MetadataPreview]:
    # Preview a write, or without `metadata` an undo.
    for page in pages:
        yield from preview_photos(
            session.database, session.settings, page, metadata, undo_job
        )


# The fields that stand for all others of a tag in a line.
KEYWORDS = ("dc:subject", "Keywords")


def print_differences(previews: Iterable[MetadataPreview], *, json: bool) -> None:
    """Print the changes of each file, with -v field by field, and a summary."""
    if json:
        write_json_list(map(_document, previews))
        return
    counts: Counter[str] = Counter()
    for preview in previews:
        counts.update(_print_preview(preview))
    photos = count_of(counts["changed"], "photo") if counts["changed"] else "no photo"
    parts = [f"{photos} would be changed"]
    for state, noun, effect in (
        ("new", "new sidecar", "would be created"),
        ("sidecar", "sidecar", "would be changed or removed"),
        ("same", "photo", "up to date"),
        ("refused", "photo", "would not be written"),
    ):
        if counts[state]:
            parts.append(f"{count_of(counts[state], noun)} {effect}")
    hint = "" if console.verbosity > 0 else ". To see each field, add -v"
    console.info(f"{', '.join(parts)}; nothing was changed{hint}")


def _print_preview(preview: MetadataPreview) -> list[str]:
    # Returns what would happen to the photo and its sidecar files, for the summary.
    path = printable(str(preview.path))
    if preview.plan is None:
        typer.echo(f"{path}: would not be written: {printable(str(preview.problem))}")
        return ["refused"]
    if preview.plan.refusal:
        typer.echo(
            f"{path}: would get a sidecar file instead: {printable(preview.plan.refusal.text)}"
        )
    states = []
    for file in preview.plan.files:
        if file.changes:
            _print_file(file)
            of_sidecar = "new" if file.original.data is None else "sidecar"
            states.append("changed" if file.target == "embed" else of_sidecar)
    for text in preview.plan.lost.values():
        typer.echo(f"{path}: {printable(text)}")
    return states or ["same"]


def _print_file(plan: FilePlan) -> None:
    state = " (removed)" if plan.data is None else ""
    if plan.original.data is None:
        state = " (new)"
        if plan.template is not None:
            state = " (new, a copy of the photo's XMP)"
    fields = changed_fields(plan)
    keywords = dict.fromkeys(
        f"{sign} {value}" for sign, name, value in fields if name.endswith(KEYWORDS)
    )
    text = ", ".join(keywords) or ", ".join(
        f"{sign} {name}" for sign, name, _ in fields
    )
    text = text or "only the layout, or tagger's record of what it wrote"
    typer.echo(f"{printable(str(plan.original.path))}{state}: {printable(text)}")
    for sign, name, value in fields if console.verbosity > 0 else ():
        typer.echo(f"  {sign} {printable(name)}: {printable(value)}")
    for note in plan.notes:
        typer.echo(f"    {printable(note)}")


def _document(preview: MetadataPreview) -> dict[str, Any]:
    plan = preview.plan
    return {
        "path": str(preview.path),
        "problem": str(preview.problem) if preview.problem else None,
        "refusal": plan.refusal.text if plan and plan.refusal else None,
        "files": [
            {
                "path": str(file.original.path),
                "changes": [
                    {
                        "change": {"+": "added", "-": "removed"}[sign],
                        "field": name,
                        "value": value,
                    }
                    for sign, name, value in changed_fields(file)
                ],
                "notes": list(file.notes),
            }
            for file in (plan.files if plan else ())
            if file.changes
        ],
    }


@dataclass(frozen=True)
class FileState:
    """The metadata of a photo or a sidecar file. `problem` is the reason if it cannot be read."""

    path: Path
    fields: Fields
    landmarks: tuple[WrittenLandmark, ...]
    problem: str | None = None


@dataclass(frozen=True)
class MetadataState:
    """A photo (None for a sidecar alone) and its sidecars. `note` says what is never written to it, and why.

    `lost` are the names of the sidecar files that were written and are not there any more.
    """

    photo: FileState | None
    sidecars: tuple[FileState, ...]
    note: str | None
    lost: tuple[str, ...] = ()


def metadata_state(
    file: Path, max_bytes: int, recorded: Sequence[str] = ()
) -> MetadataState:
    """Read the metadata of a photo and its sidecars, with those `recorded` as written, or of one sidecar.

    Raises:
        PathNotFound: the file does not exist.
        BucketUnavailable: its bucket does not answer.
        typer.BadParameter: it is a folder, or no photo and without a sidecar.
        SystemRefused: the photo cannot be read.
    """
    file = parse_path(file)
    if check_exists(file):
        raise typer.BadParameter("it is a folder; name one photo", param_hint="FILE")
    if is_sidecar_name(file.name):
        return MetadataState(None, (_sidecar_state(file),), None)
    try:
        data = read_named(file, max_bytes=max_bytes).data
        written = [
            WrittenFile(file.with_name(name), Target.SIDECAR, "", None)
            for name in recorded
        ]
        found = find_photo_files(file, None, written)
    except (PhotoFailed, WriteRefused, WriteFailed) as problem:
        raise SystemRefused(what=str(file), reason=str(problem)) from problem
    sidecars = (*found.beside, *found.recorded)
    if detect_format(data) is None and not sidecars and not found.absent:
        raise typer.BadParameter(
            "it is no photo and no sidecar file; name one", param_hint="FILE"
        )
    note = exif_refusal(data)
    return MetadataState(
        _photo_state(file, data),
        tuple(map(_sidecar_state, sidecars)),
        note and f"tagger never changes the EXIF of this photo, only its XMP: {note}",
        tuple(path.name for path in found.absent),
    )


def print_state(state: MetadataState) -> None:
    """Print a table with a row for each field and a column for each file."""
    files = [*([state.photo] if state.photo else []), *state.sidecars]
    names = sorted({name for file in files for name in file.fields})
    rows = []
    for name in names:
        values = [file.fields.get(name, "") for file in files]
        texts = [
            value if isinstance(value, str) else "; ".join(value) for value in values
        ]
        rows.append([name, *map(printable, texts)])
    write_table(("Field", *(printable(file.path.name) for file in files)), rows)
    for file in files:
        for landmark in file.landmarks:
            typer.echo(
                f"{printable(file.path.name)}: tagger wrote {_landmark_text(landmark)}"
            )
        if file.problem:
            console.warning(f"{printable(str(file.path))}: {file.problem}")
    for name in state.lost:
        console.warning(
            f"{printable(name)}, into which tags were written, is not there any more"
        )
    if state.photo and not state.sidecars:
        console.info("there is no sidecar file")
    if state.note:
        console.info(state.note)


def _photo_state(path: Path, data: bytes) -> FileState:
    try:
        return FileState(
            path, _shown(photo_fields(data)), written_landmarks(xmp_packet(data))
        )
    except WriteRefused as refused:
        return FileState(path, {}, (), str(refused))


def _sidecar_state(path: Path) -> FileState:
    try:
        data = read_named(path, max_bytes=SIDECAR_MAX_BYTES).data
        return FileState(path, _shown(xmp_fields(data)), written_landmarks(data))
    except (PhotoFailed, WriteRefused) as problem:
        return FileState(path, {}, (), str(problem))


def _shown(fields: Fields) -> Fields:
    # The fields without tagger's own record.
    return {name: value for name, value in fields.items() if TAGGER_RECORD not in name}


def _landmark_text(landmark: WrittenLandmark) -> str:
    parts = (
        landmark.score,
        landmark.model and f"by {landmark.model}",
        landmark.verdict,
    )
    details = " ".join(part for part in parts if part)
    return f"{printable(landmark.name or landmark.slug)}{f' ({printable(details)})' if details else ''}"
