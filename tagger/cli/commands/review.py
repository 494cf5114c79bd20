"""`tagger confirm`, `reject` and `review …`: verdicts on photos, and photos that probably show a landmark."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import IO, Annotated, Literal, cast

import typer

from tagger.cli import console
from tagger.cli.console import (
    Counter,
    Format,
    count_of,
    printable,
    printable_lines,
    write_documents,
    write_json,
)
from tagger.cli.help import (
    DEFAULT,
    DefaultCommandGroup,
    argument,
    flag,
    option,
    with_option_groups,
)
from tagger.cli.options import (
    Author,
    DryRun,
    FormatName,
    Json,
    Limit,
    VerdictOptions,
    parse_format,
)
from tagger.cli.photo_lists import write_photos
from tagger.cli.program import model_in_use, open_for_reading, open_session
from tagger.database import VerdictKind
from tagger.database.connection import login_name
from tagger.errors import AlreadyExists
from tagger.landmarks import find_landmark
from tagger.photos.files import open_regular, replace_file
from tagger.photos.paths import parse_path
from tagger.query.photo_json import json_list_parts
from tagger.teaching.lessons import find_suggestions
from tagger.teaching.questions import (
    Question,
    answer_question,
    open_questions,
    withdraw_answer,
)
from tagger.verdicts import (
    VERDICT_COLUMNS,
    DismissedPhotos,
    VerdictFilter,
    dismiss_photos,
    give_verdicts,
    list_verdicts,
    photo_ids_at,
    restore_photos,
    withdraw_verdicts,
)
from tagger.verdicts.importing import ImportedVerdicts, import_verdicts, read_entries

PHOTOS_HELP = "Photos. The files may be deleted already."
Withdraw = Annotated[
    bool,
    flag(
        "--withdraw", "Withdraw the verdict. The predictions of the model apply again."
    ),
]


def confirm(
    landmark: Annotated[
        str, argument("LANDMARK", "A landmark, by slug or name in any case.")
    ],
    photos: Annotated[list[Path], argument("PHOTO", PHOTOS_HELP)],
    by: Author = None,
    withdraw: Withdraw = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Confirm that photos show a landmark. The landmark becomes an accepted tag, whatever models predict.

    The verdict applies to every copy of the photo and survives new models.

    For example:

    tagger confirm "Eiffel Tower" holiday/IMG_0042.jpg holiday/IMG_0043.jpg

    tagger query --landmark eiffel-tower --under Paris -0 | xargs -0 tagger confirm eiffel-tower
    """
    _give(
        VerdictKind.CONFIRMED,
        landmark,
        photos,
        by,
        withdraw=withdraw,
        dry_run=dry_run,
        json=json,
    )


def reject(
    landmark: Annotated[
        str, argument("LANDMARK", "A landmark, by slug or name; with --any, a photo.")
    ],
    photos: Annotated[list[Path] | None, argument("PHOTO", PHOTOS_HELP)] = None,
    any_: Annotated[
        bool, flag("--any", "Dismiss the photos as not a landmark, without LANDMARK.")
    ] = False,
    by: Author = None,
    withdraw: Withdraw = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Reject a landmark for photos. No model can give them this tag again.

    The verdict applies to every copy of the photo and survives new models. A new verdict replaces the old
    one. With --any, all arguments are photos; those with a confirmed landmark are left out.

    For example:

    tagger reject eiffel-tower holiday/IMG_0042.jpg holiday/IMG_0043.jpg

    tagger query --unknown --under Screenshots -0 | xargs -0 tagger reject --any
    """
    if any_:
        paths = [Path(landmark), *(photos or [])]
        _dismiss(paths, by, withdraw=withdraw, dry_run=dry_run, json=json)
        return
    if not photos:
        raise typer.BadParameter("name at least one photo", param_hint="PHOTO")
    _give(
        VerdictKind.REJECTED,
        landmark,
        photos,
        by,
        withdraw=withdraw,
        dry_run=dry_run,
        json=json,
    )


def _give(
    kind: VerdictKind,
    landmark: str,
    photos: Sequence[Path],
    by: str | None,
    *,
    withdraw: bool,
    dry_run: bool,
    json: bool,
) -> None:
    settings, database = open_session()
    paths = list(map(parse_path, photos))
    if withdraw:
        result = withdraw_verdicts(
            database, paths, landmark, kind, settings.roots, dry_run=dry_run
        )
    else:
        author = by or login_name()
        result = give_verdicts(
            database, paths, landmark, kind, author, settings.roots, dry_run=dry_run
        )
    verb = f"{'would be ' if dry_run else ''}{'no longer ' if withdraw else ''}{kind}"
    lines = []
    for path, photo in zip(paths, result.photos, strict=True):
        before = f" (was {photo.before})" if photo.before not in {None, kind} else ""
        copies = f", in {photo.copies} copies of the photo" if photo.copies > 1 else ""
        effect = f"{verb}{before}{copies}"
        if withdraw and not photo.changed:
            other = f"; it is {photo.before}" if photo.before else ""
            effect = f"is not {kind}, so there is nothing to withdraw{other}"
        lines.append(f"{printable(str(path))}: {printable(result.name)} {effect}")
    console.write_result(result, "\n".join(lines), json=json)


def _dismiss(
    photos: Sequence[Path], by: str | None, *, withdraw: bool, dry_run: bool, json: bool
) -> None:
    # Put photos away as not a landmark, or bring them back.
    settings, database = open_session()
    numbers = photo_ids_at(database, map(parse_path, photos), settings.roots)
    if withdraw:
        result = restore_photos(database, numbers, dry_run=dry_run)
    else:
        author = by or login_name()
        result = dismiss_photos(database, numbers, author, dry_run=dry_run)
    counts = {name: len(ids) for name, ids in vars(result).items()}
    console.write_result(
        {**counts, "withdrawn": withdraw, "dry_run": dry_run},
        _dismissal_line(result, withdraw=withdraw, dry_run=dry_run),
        json=json,
    )


def _dismissal_line(result: DismissedPhotos, *, withdraw: bool, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    done = "brought back" if withdraw else "put away as not a landmark"
    parts = [f"{count_of(len(result.changed), 'photo')} {would}{done}"]
    if result.unchanged:
        already = "not put away" if withdraw else "put away already"
        parts.append(f"{len(result.unchanged)} {already}")
    if result.confirmed:
        parts.append(f"{len(result.confirmed)} left out, with a confirmed landmark")
    if result.left_out:
        parts.append(f"{len(result.left_out)} left out, not classified")
    return "; ".join(parts)


review_app = typer.Typer(cls=DefaultCommandGroup)

STREAM = Path("-")

EXPORT_COLUMNS = ("digest", "landmark", "verdict", "by", "at", "path")

VerdictsFile = Annotated[Path, argument("FILE|-", "A file, or - for a pipe.")]


@review_app.command(DEFAULT)
def review(
    landmark: Annotated[
        str | None, argument("LANDMARK", "A landmark. (default: all of them)")
    ] = None,
    limit: Limit = None,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List photos that may show a landmark, and have no verdict: the most likely ones first.

    These are the suggestions of models and of taught landmarks. Answer them with `tagger confirm` and `tagger
    reject`, or many at once with `tagger teach`. Each answer improves what was learned.

    For example:

    tagger review our-church --limit 10

    tagger teach our-church right-1.jpg right-2.jpg --not wrong-1.jpg wrong-2.jpg
    """
    output_format = parse_format(format_, json=json)
    settings, database = open_for_reading()
    landmark_id = None
    if landmark is not None:
        with database.read() as connection:
            landmark_id = find_landmark(connection, landmark).id
    if not write_photos(
        find_suggestions(database, landmark_id, settings.roots, limit), output_format
    ):
        console.info(
            "no suggestion waits; to teach a landmark, run: tagger teach LANDMARK PHOTO…"
        )
    elif output_format is Format.TABLE:
        name = "LANDMARK" if landmark is None else quote(landmark)
        console.info(
            f"to answer, run: tagger confirm {name} PHOTO…, or: tagger reject {name} PHOTO…"
        )
        if landmark is not None:
            console.info(
                f"to answer both at once, run: tagger teach {name} RIGHT-PHOTO… --not WRONG-PHOTO…"
            )


# Photos of each half of a question that are listed in words.
LISTED = 5


@review_app.command("questions")
def questions(json: Json = False) -> None:
    """List places whose photos look alike, with photos without a position that look like them.

    Photos that were taken near a sight may show it, or something else. Say it once, with `tagger review
    answer`, and the place is found in all photos. At most ten questions wait at once, the surest first.

    Example: tagger review questions
    """
    settings, database = open_for_reading()
    waiting = open_questions(database, settings.roots)
    if json:
        write_json([question.document for question in waiting])
        return
    for question in waiting:
        typer.echo(printable_lines("\n".join(_question_lines(question))))
    if not waiting:
        console.info(
            "no question waits; photos near a sight ask one once some of them look alike"
        )


def _question_lines(question: Question) -> Iterator[str]:
    places = ", ".join(
        f"{each.display_name} ({each.distance_m} m)" for each in question.choices
    )
    yield f"{question.number}: {places}"
    for title, photos in (
        ("taken here", question.taken_here),
        ("look like these", question.similar),
    ):
        yield f"  {title} ({len(photos)})"
        for photo in photos[:LISTED]:
            score = question.scores.get(photo.id)
            yield f"    {photo.path}{'' if score is None else f'  {score:.2f}'}"
    yield f"  to answer, run: tagger review answer {question.number} {quote(question.place)}"


@review_app.command("answer")
def answer(
    number: Annotated[int, argument("NUMBER", "The number of a question.")],
    place: Annotated[
        str | None,
        argument(
            "PLACE", "What the photos show: a place of the question, or any other name."
        ),
    ] = None,
    none: Annotated[bool, flag("--none", "The photos show no place.")] = False,
    not_: Annotated[
        list[Path] | None,
        option(
            "--not",
            "PHOTO",
            "A photo of the question that does not show the place. Repeatable.",
        ),
    ] = None,
    withdraw: Annotated[
        bool, flag("--withdraw", "Take the answer back, with its verdicts.")
    ] = False,
    by: Author = None,
    json: Json = False,
) -> None:
    """Answer a question of `tagger review questions`: confirm the place on the photos that were taken there.

    The place becomes a landmark, with its names and its position, and is taught from these photos. With
    --none, they are asked about again only once there are twice as many.

    For example:

    tagger review answer 3 "Colosseum" --not dinner.jpg

    tagger review answer 3 --none
    """
    if sum((place is not None, none, withdraw)) != 1:
        raise typer.BadParameter(
            "name a place, or use --none or --withdraw", param_hint="PLACE"
        )
    settings, database = session = open_session()
    if withdraw:
        result = withdraw_answer(database, number, settings.roots)
        text = f"the answer to question {number} is withdrawn"
    else:
        struck = photo_ids_at(database, map(parse_path, not_ or ()), settings.roots)
        model = model_in_use(session)
        result = answer_question(
            database, model, number, place, struck, by or login_name(), settings.roots
        )
        text = (
            f"question {number} waits until there are twice as many photos"
            if place is None
            else f"taught; to see its photos, run: tagger query --landmark {result.landmark}"
        )
    console.write_result(result, text, json=json)


@review_app.command("list")
@with_option_groups
def list_(
    verdict_options: VerdictOptions,
    verdict: Annotated[
        Literal["confirmed", "rejected", "not-a-landmark"] | None,
        option(
            "--verdict",
            "VERDICT",
            "Only confirmed, only rejected, or only not-a-landmark.",
        ),
    ] = None,
    by: Annotated[
        str | None, option("--by", "NAME", "Verdicts of this author.")
    ] = None,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List verdicts, the newest first. Copies of a photo share a verdict, listed with the path of one copy.

    Example: tagger review list --verdict rejected --under ~/Pictures/Berlin
    """
    output_format = parse_format(
        format_,
        json=json,
        impossible={Format.PATHS, Format.GEOJSON},
        reason="use table, json, ndjson or csv",
    )
    filters = VerdictFilter(verdict, by, verdict_options.parse())
    settings, database = open_for_reading()
    verdicts = list_verdicts(database, filters, settings.roots)
    by_photo = sorted(verdicts, key=lambda each: each.path or "")
    newest_first = sorted(by_photo, key=lambda each: each.at, reverse=True)
    if not write_documents(VERDICT_COLUMNS, newest_first, output_format):
        console.info(
            "no verdict matches; to give one, run: tagger confirm LANDMARK PHOTO"
        )


@review_app.command("export")
def export(
    file: VerdictsFile = STREAM,
    force: Annotated[bool, flag("--force", "Replace an existing file.")] = False,
) -> None:
    """Export all verdicts as JSON, with the digests of images and the slugs of landmarks or things.

    Any other database can import the file.

    Example: tagger review export verdicts.json
    """
    settings, database = open_for_reading()
    verdicts = Counter(list_verdicts(database, VerdictFilter(), settings.roots))
    documents = (
        {column: getattr(each, column) for column in EXPORT_COLUMNS}
        for each in verdicts
    )
    with open_output(file, force=force) as out:
        out.writelines(json_list_parts(documents))
    console.info(f"{count_of(verdicts.count, 'verdict')} exported")


@review_app.command("import")
def import_(
    file: VerdictsFile = STREAM, dry_run: DryRun = False, json: Json = False
) -> None:
    """Import verdicts from another database. Photos are matched by digest; the newer of two verdicts applies.

    Verdicts on unknown photos are kept and apply once such a photo is added.

    Example: tagger review import verdicts.json --dry-run
    """
    database = open_session().database
    name = "stdin" if file == STREAM else str(file)
    with open_input(file) as source:
        report = import_verdicts(database, read_entries(source, name), dry_run=dry_run)
    if json:
        write_json({**vars(report), "dry_run": dry_run})
    else:
        _print_report(report, dry_run=dry_run)


def _print_report(report: ImportedVerdicts, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    typer.echo(
        f"{report.added} {would}added, {report.replaced} {would}replaced by a newer verdict, "
        f"{report.older} older than the verdict here, {report.unchanged} unchanged"
    )
    if report.unknown_images:
        verdicts = count_of(report.unknown_images, "verdict")
        console.info(
            f"{verdicts} on unknown photos {would}kept until such a photo is added"
        )
    if report.unknown_landmarks:
        names = ", ".join(
            f"{printable(slug)} ({count})"
            for slug, count in report.unknown_landmarks.most_common()
        )
        console.warning(
            f"{count_of(report.unknown_landmarks.total(), 'verdict')} skipped, as no model has the landmark: "
            f"{names}. Register such a model with `tagger model add FILE`, then import again"
        )


# `/dev/fd/63` is what bash and zsh give a command for `<(…)`.
_OPENED_BY_SHELL = re.compile(r"/dev/stdin|/(dev|proc/self)/fd/\d+")


@contextmanager
def open_output(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Open a file for writing, or stdout for `-`. The file appears at the end, if no error occurs.

    Raises:
        AlreadyExists: the file exists, and `force` is not set.
    """
    if path == STREAM:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    _check_absent(path, force=force)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
        _check_absent(path, force=force)
        replace_file(path, by=part)
    finally:
        part.unlink(missing_ok=True)


def _check_absent(path: Path, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise AlreadyExists(
            what=f"The file {path}",
            remedy="Choose another name, or replace it with --force",
        )


@contextmanager
def open_input(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, stdin for `-`, or what the shell has opened. One could wait for other pipes for ever."""
    if path == STREAM:
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    with (
        path.open("rb")
        if _OPENED_BY_SHELL.fullmatch(str(path))
        else open_regular(path) as file
    ):
        yield file
