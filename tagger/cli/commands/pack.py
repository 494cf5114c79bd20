"""`tagger pack …`: landmarks that people have taught, shared as files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.derived_facts import completing, model_in_use, update_positions, warn_of_other_models
from tagger.cli.help import argument, flag, option
from tagger.cli.options import DryRun, Json
from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.files import Force, open_output
from tagger.cli.output.formats import Score, printable, write_json, write_table
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_for_reading, open_session
from tagger.errors import PackExists, PackNotFound
from tagger.library.teaching.pack_file import name_of_pack, read_pack
from tagger.library.teaching.packs import (
    add_pack,
    added_pack_document,
    create_pack,
    find_pack,
    list_packs,
    pack_document,
    pack_plan_document,
    plan_pack,
    remove_pack,
    removed_pack_document,
)
from tagger.settings import signers_file

if TYPE_CHECKING:
    from tagger.library.teaching.pack_file import PackManifest, Signature

pack_app = typer.Typer(
    help="Share landmarks that you have taught, and add those of others.", no_args_is_help=True
)

PackFile = Annotated[Path, argument("FILE", "A pack, like castles-of-france.pack.")]
PackName = Annotated[str, argument("NAME", "A pack that was added, by name.")]


@pack_app.command("create")
def create(
    file: Annotated[
        Path,
        argument("FILE", "The file to write. Its name, without .pack, becomes the pack's."),
    ],
    landmarks: Annotated[
        list[str] | None, argument("LANDMARK", "Landmarks that you have taught. (default: all of them)")
    ] = None,
    author: Annotated[str | None, option("--author", "NAME", "Who made it.")] = None,
    licence: Annotated[
        str | None, option("--licence", "NAME", "On what terms others may use it, like CC0.")
    ] = None,
    about: Annotated[str | None, option("--about", "TEXT", "What it has, in your words.")] = None,
    single: Annotated[bool, flag("--single", "Include landmarks that a single photo has taught.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a pack of landmarks that you have taught. Others with the same model can add it.

    It has no photo, path or verdict, but for each landmark a direction in the space of embeddings, which says something about the photos.

    Example: tagger pack create castles.pack --author Ada --licence CC0
    """
    if not (name := name_of_pack(file)):
        raise typer.BadParameter("name a file like castles.pack", param_hint="FILE")
    session = open_session()
    words = {"author": author or "", "licence": licence or "", "about": about or ""}
    created = create_pack(
        session.database, model_in_use(session), name, landmarks or [], words, with_single=single
    )
    with open_output(file, force=force) as out:
        out.write(created.data)
    if json:
        document = {"file": str(file.absolute()), "size_bytes": len(created.data), "left_out": created.single}
        write_json(vars(pack_document(created.manifest)) | document)
    else:
        typer.echo(f"{printable(str(file))}: {count_of(len(created.manifest.landmarks), 'landmark')}")
    if created.single:
        console.warning(
            f"left out, because a single photo has taught them, which their directions would describe: {', '.join(created.single)}; "
            "to include them, add --single"
        )
    console.warning(
        "the pack says something about the photos it was learned from; do not share it if they are private"
    )


@pack_app.command("add")
def add(
    file: PackFile,
    yes: Annotated[bool, flag("--yes", "Do not ask.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Add the landmarks of a pack, and tag all photos that show one. No photo is read.

    The command shows what is in it and who has signed it, and asks. Your verdicts decide first, then what you have taught, then the higher score.

    Example: tagger pack add castles.pack
    """
    started_at = time.monotonic()
    pack = read_pack(file, signers_file())
    session = open_session(settle_jobs=True)
    database, model = session.database, model_in_use(session, pack.manifest.embedding.digest)
    done = () if dry_run else (PackExists,)
    with completing(session, *done):
        plans = plan_pack(database, model, pack)
    if not json:
        _print_manifest(pack.manifest, pack.signature)
        for plan in plans:
            what = "new" if plan.landmark is None else f"joined with your {plan.landmark.display_name}"
            why = f": {plan.reason}" if plan.reason else ""
            where = ", ".join(filter(None, (plan.packed.city, plan.packed.country)))
            typer.echo(printable(f"{plan.packed.name} ({plan.slug}){where and f', {where}'}: {what}{why}"))
        for warning in pack.warnings:
            console.warning(f"{warning[0].lower()}{warning[1:].rstrip('.')}")
    if dry_run:
        if json:
            write_json(pack_plan_document(pack, plans, dry_run=True))
        return
    if not yes and (json or not sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here; add it", param_hint="--yes")
    if not yes and not typer.confirm(f"{pack.signature.text} Add it?", err=True):
        raise typer.Exit(console.NOT_DONE)
    with ProgressLine("comparing photos") as line:
        plans, compared = add_pack(database, model, pack, line.show)
    update_positions(session)
    added = find_pack(database, pack.manifest.name)
    if json:
        counts = {"compared": compared, "tagged": added.tagged, "suggested": added.suggested}
        seconds = round(time.monotonic() - started_at, 3)
        write_json(vars(pack_plan_document(pack, plans, dry_run=False)) | counts | {"seconds": seconds})
    else:
        typer.echo(
            f"{added.name} added: {count_of(compared, 'photo')} compared, {added.tagged} tagged, {count_of(added.suggested, 'suggestion')}"
        )
        if added.suggested:
            console.info("to list the suggestions, run: tagger review")
    warn_of_other_models(session, model)


@pack_app.command("list")
def list_(json: Json = False) -> None:
    """List the packs that were added, with their numbers of tagged photos.

    Example: tagger pack list
    """
    packs = list_packs(open_for_reading().database)
    rows = ([each.name, len(each.slugs), each.tagged, each.suggested, each.manifest.author] for each in packs)
    console.write_list(
        [added_pack_document(pack) for pack in packs],
        ("Pack", "Landmarks", "Tagged", "Suggested", "Author"),
        rows,
        "no pack was added; to add one, run: tagger pack add FILE",
        json=json,
    )


@pack_app.command("show")
def show(
    pack: Annotated[str, argument("FILE|NAME", "A pack's file, or the name of one that was added.")],
    json: Json = False,
) -> None:
    """Show what a pack has: its author's words, who has signed it, its landmarks, and how well they are found.

    Example: tagger pack show castles.pack
    """
    if Path(pack).exists():
        file = read_pack(Path(pack), signers_file())
        manifest, signature = file.manifest, file.signature
        document = vars(pack_document(manifest)) | {"signature": signature}
    else:
        added, signature = find_pack(open_for_reading().database, pack), None
        manifest, document = added.manifest, vars(added_pack_document(added))
    if json:
        write_json(document)
        return
    _print_manifest(manifest, signature)
    rows = (
        [
            *(each.slug, each.name, each.country, each.examples),
            *(None if share is None else Score(share) for share in (each.precision, each.recall)),
        ]
        for each in manifest.landmarks
    )
    write_table(("Landmark", "Name", "Country", "Photos", "Right", "Found"), rows)


@pack_app.command("remove")
def remove(name: PackName, dry_run: DryRun = False, json: Json = False) -> None:
    """Remove a pack and its tags. Verdicts stay, and so do landmarks that have one.

    Example: tagger pack remove castles
    """
    session = open_session(settle_jobs=True)
    if dry_run:
        removed = find_pack(session.database, name)
    else:
        with completing(session, PackNotFound), ProgressLine("comparing photos") as line:
            removed = remove_pack(session.database, name, line.show)
        update_positions(session)
    would = "would be removed" if dry_run else "removed"
    tags = f"{count_of(removed.tagged, 'tag')} and {count_of(removed.suggested, 'suggestion')}"
    document = removed_pack_document(removed, dry_run=dry_run)
    console.write_result(document, f"{name} {would}, with {tags}", json=json)


def _print_manifest(manifest: PackManifest, signature: Signature | None = None) -> None:
    facts = {
        "pack": manifest.name,
        "landmarks": len(manifest.landmarks),
        "author": manifest.author,
        "licence": manifest.licence,
        "about": manifest.about,
        "model": f"{manifest.embedding.model} ({manifest.embedding.digest[:12]})",
    }
    if signature is not None:
        facts["signature"] = signature.text
    for name, value in facts.items():
        typer.echo(f"{name + ':':<12}{printable(str(value or 'not said'))}")
