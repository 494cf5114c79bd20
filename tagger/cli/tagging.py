"""`tagger tag`, `look`, `enqueue`, `forget`: photos in, tags into the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.local_jobs import end_here, run_here, write_here
from tagger.cli.options import (
    Again,
    BatchSize,
    Description,
    DeviceName,
    DryRun,
    Exclude,
    Gps,
    Include,
    Json,
    ModelName,
    Paths,
    PriorityName,
    Threshold,
    TopK,
    Wait,
    WriteTo,
    chosen_priority,
    chosen_write,
)
from tagger.cli.output import printable
from tagger.cli.recording import end_of_recording, load, opened, print_preview, record, select, send

if TYPE_CHECKING:
    pass


def tag(
    paths: Paths,
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    again: Again = False,
    write: WriteTo = "none",
    gps: Gps = False,
    description: Description = False,
    include: Include = None,
    exclude: Exclude = None,
    dry_run: DryRun = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show at the end where the time went.")] = False,
    json: Json = False,
) -> None:
    """Tag photos in this process; no server is needed.

    Prints a line per photo and stores everything in the database. Photos that were tagged before are skipped,
    so the same command again goes on where it stopped. Photos are only read, unless --write says otherwise; whatever
    was written is taken back exactly by: tagger metadata undo

    Example: tagger tag ~/Pictures, then: tagger landmarks
    """
    from tagger.ledger.progress import list_jobs
    from tagger.tables import Priority, Runner

    asked = chosen_write(write, gps=gps, description=description)
    settings = load(top_k=top_k, threshold=threshold, model=model, device=device, batch_size=batch_size)
    selection = select(paths, include, exclude)
    if dry_run:
        print_preview(settings, selection, again=again, write=asked)
        return
    database = opened(settings)
    job = record(
        database,
        settings,
        selection,
        runner=Runner.LOCAL,
        priority=Priority.INTERACTIVE,
        again=again,
        write=asked,
    )
    spent = run_here(database, settings, job, lines=not json)
    if profile and spent is not None:
        from tagger.cli.profile import print_profile

        print_profile(spent, list_jobs(database, job)[0].done)
    code = end_here(database, job, json=json)
    raise typer.Exit(write_here(database, settings, job, lines=not json) or code)


def look(
    files: Annotated[
        list[str], typer.Argument(help="Photos, or - for one on standard input.", metavar="FILE")
    ],
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    device: DeviceName = None,
    json: Json = False,
) -> None:
    """Show the top-k landmarks of photos; nothing is stored.

    Example: tagger look holiday.jpg, or: curl … | tagger look -
    """
    from tagger.devices import quiet_threads

    quiet_threads()
    from tagger.cli.looking import look_at

    settings = load(top_k=top_k, threshold=threshold, model=model, device=device, batch_size=1)
    failed = look_at(files, settings, json=json)
    raise typer.Exit(console.SOME_PHOTOS_FAILED if failed else console.DONE)


def enqueue(
    paths: Paths,
    priority: PriorityName = "bulk",
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    again: Again = False,
    write: WriteTo = "none",
    gps: Gps = False,
    description: Description = False,
    include: Include = None,
    exclude: Exclude = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Record photos as a job for the workers, and print its number.

    The job is in the database before anything is sent: if Redis or the workers are away, it waits for them.

    Example: tagger enqueue ~/Pictures --wait (with tagger worker running in another terminal)
    """
    wanted, asked = chosen_priority(priority), chosen_write(write, gps=gps, description=description)
    settings = load(top_k=top_k, threshold=threshold, model=model)
    selection = select(paths, include, exclude)
    if dry_run:
        print_preview(settings, selection, again=again, write=asked)
        return
    database = opened(settings)
    job = send(database, settings, selection, wanted, again=again, start_redis=wait, write=asked)
    end_of_recording(database, job, wait=wait, json=json)


def forget(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Photos or folders; they need not be there any more.", metavar="PATH"),
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take photos out of the database. The files stay.

    Example: tagger forget ~/Pictures/Screenshots
    """
    from json import dumps

    from tagger.forgetting import forget_path

    settings = load()
    database = opened(settings)
    counts = {str(path): forget_path(database, path, settings.roots, dry_run=dry_run) for path in paths}
    if json:
        typer.echo(dumps({"forgotten": sum(counts.values()), "paths": counts, "dry_run": dry_run}))
        return
    for path, count in counts.items():
        verb = "would be forgotten" if dry_run else "forgotten"
        typer.echo(f"{printable(path)}: {count} photo{'' if count == 1 else 's'} {verb}")
