"""RAW files that a JPEG or HEIC of the same stem stands for: their `primary_id` is the id of its row.

They have no image, facts or failure of their own, so that code that selects photos by these finds each pair
once. Joining and separating files keeps what is known of them: the row that stands for the photo takes over
the image and its verdicts. A photo with an image and no classified version has taken it over; once its own
file is read, `carry_over` moves the verdicts to the image in it.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Text,
    and_,
    bindparam,
    collate,
    delete,
    func,
    select,
    true,
    update,
)

from tagger.database import FactSource, VerdictKind
from tagger.database.statements import among, array, insert_missing
from tagger.database.tables import (
    NO_FAILURE,
    contents,
    dismissals,
    favourites,
    metadata_writes,
    photos,
    positions,
)
from tagger.ledger import follow_images
from tagger.photos import FIRST_FACTS, PHOTO_FACTS
from tagger.photos.names import primary_files, stem_of
from tagger.roots import Root
from tagger.tags import lock_contents, record_photos
from tagger.tags.causes import (
    VERDICT_TABLES,
    NewDismissal,
    NewVerdict,
    write_dismissals,
    write_verdicts,
)

_INHERITED = (
    *PHOTO_FACTS,
    *FIRST_FACTS,
    "own_facts",
    "camera_id",
    "content_id",
    "unread_facts",
)
_NO_FACTS = dict.fromkeys(_INHERITED) | dict.fromkeys(FIRST_FACTS, FactSource.CAMERA)
_CLASSIFIED = ("classified_size_bytes", "classified_mtime_ns")


def pair_files(
    connection: Connection, root: Root, found: Iterable[Row[Any]]
) -> Mapping[int, int]:
    """Join RAW files with their JPEGs, and separate those without one, with all files of their stems.

    `found` are rows of files that exist. Returns the id of the primary of each joined file. Call it in a
    transaction that writes photos.
    """
    groups: dict[tuple[str, bool], list[Row[Any]]] = {}
    for row in found:
        if (stem := stem_of(row.path)) is not None:
            # A name that is not UTF-8 has not the same stem as a UTF-8 name that reads the same.
            groups.setdefault((stem, bool(row.path_bytes)), []).append(row)
    for row in _other_files(connection, root, groups):
        groups.setdefault((row.stem, bool(row.path_bytes)), []).append(row)
    primary_ids: dict[int, int] = {}
    changed: list[Row[Any]] = []
    for group in groups.values():
        if len(group) > 1 or group[0].primary_id is not None:
            ids = {row.path: row.id for row in group}
            primary_ids |= {
                ids[raw]: ids[primary] for raw, primary in primary_files(ids).items()
            }
            changed += [
                row for row in group if row.primary_id != primary_ids.get(row.id)
            ]
    separate_files(
        connection, [row.id for row in changed if row.primary_id is not None]
    )
    _join_files(
        connection,
        {row.id: primary_ids[row.id] for row in changed if row.id in primary_ids},
    )
    return primary_ids


def separate_files(connection: Connection, photo_ids: Iterable[int]) -> None:
    """Make joined files among these photos separate photos, with what is known until they are classified."""
    primary = photos.alias("primary")
    query = (
        select(
            photos.c.id,
            photos.c.path,
            photos.c.primary_id,
            *(primary.c[name] for name in _INHERITED),
        )
        .join(primary, primary.c.id == photos.c.primary_id)
        .where(among(photos.c.id, photo_ids))
        .order_by(photos.c.id)
    )
    rows = connection.execute(query).all()
    if not rows:
        return
    separated = update(photos).where(photos.c.id == bindparam("photo"))
    columns: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _INHERITED}
    connection.execute(
        separated.values(primary_id=None, **columns),
        [
            {"photo": row.id}
            | {f"new_{name}": getattr(row, name) for name in _INHERITED}
            for row in rows
        ],
    )
    separated_ids = [row.id for row in rows]
    record_photos(connection, separated_ids)
    follow_images(connection, among(photos.c.id, separated_ids))
    _move_sidecar_writes(connection, rows)


def files_of(primary_ids: Collection[int]) -> ColumnElement[bool]:
    return among(photos.c.primary_id, primary_ids) & photos.c.gone_since.is_(None)


def raw_files_of(
    connection: Connection, photo_ids: Collection[int]
) -> Mapping[int, Sequence[Row[Any]]]:
    """The rows of the RAW files of photos, with `path`, `path_bytes` and `side_files`, by photo id."""
    columns = (
        photos.c.primary_id,
        photos.c.path,
        photos.c.path_bytes,
        photos.c.side_files,
    )
    files: dict[int, list[Any]] = {}
    for row in connection.execute(
        select(*columns).where(files_of(photo_ids)).order_by(photos.c.path)
    ):
        files.setdefault(row.primary_id, []).append(row)
    return files


def carry_over(
    connection: Connection, photo_id: int, image_id: int, to_image_id: int
) -> None:
    """Let the verdicts on an image that a photo had, and the undo log of its files, apply to its image."""
    _carry_verdicts(connection, image_id, to_image_id)
    _move_writes(connection, photo_id, photo_id, to_image_id)


def _join_files(connection: Connection, primary_ids: Mapping[int, int]) -> None:
    both = sorted({*primary_ids, *primary_ids.values()})
    query = select(photos.c.id, photos.c.content_id).where(among(photos.c.id, both))
    images = {row.id: row.content_id for row in connection.execute(query)}
    if not images:
        return
    record_photos(connection, images)
    # All at once, so that transactions lock images in one order.
    to_images = {
        images[key] for raw, key in primary_ids.items() if images[raw] and images[key]
    }
    lock_contents(connection, to_images)
    for photo_id, primary_id in sorted(primary_ids.items()):
        image_id = images[photo_id]
        if image_id is None:
            continue
        if images[primary_id] is None:
            images[primary_id] = image_id
            own = update(photos).where(photos.c.id == primary_id)
            connection.execute(own.values(content_id=image_id))
        else:
            _carry_verdicts(connection, image_id, images[primary_id])
        _move_writes(connection, photo_id, primary_id, images[primary_id])
    joined = update(photos).where(photos.c.id == bindparam("photo"))
    nothing = _NO_FACTS | dict.fromkeys(_CLASSIFIED) | NO_FAILURE
    connection.execute(
        joined.values(primary_id=bindparam("primary"), **nothing),
        [
            {"photo": photo_id, "primary": primary_id}
            for photo_id, primary_id in sorted(primary_ids.items())
        ],
    )
    connection.execute(
        delete(positions).where(among(positions.c.photo_id, primary_ids))
    )


def _other_files(
    connection: Connection,
    root: Root,
    groups: Mapping[tuple[str, bool], Sequence[Row[Any]]],
) -> list[Any]:
    # The other files of these stems that exist: patterns hid them, or a file of the stem was named alone.
    if not groups:
        return []
    stems = sorted({stem for stem, _ in groups})
    if connection.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(stems)).table_valued("value")
        stem: ColumnElement[str] = listed.c.value
    else:
        listed = (
            func.unnest(array(stems, Text())).table_valued("value").render_derived()
        )
        stem = collate(listed.c.value, "C")
    # "/" is the character after ".": the range has every file of the stem, and few others.
    in_range = (photos.c.path > stem.concat(".")) & (photos.c.path < stem.concat("/"))
    found_ids = [row.id for group in groups.values() for row in group]
    is_other = photos.c.gone_since.is_(None) & ~among(photos.c.id, found_ids)
    of_stem = and_(photos.c.root_id == root.id, in_range, is_other)
    # Both joins make the database look up each stem. Without statistics, as in a new database, it would
    # compare each stem with each photo.
    if connection.dialect.name == "sqlite":
        files: FromClause = photos
        files_of_stems = listed.outerjoin(photos, of_stem)
    else:
        files = select(photos).where(of_stem).offset(0).lateral("files")
        files_of_stems = listed.join(files, true())
    columns = (
        files.c.id,
        files.c.path,
        files.c.path_bytes,
        files.c.primary_id,
        listed.c.value.label("stem"),
    )
    rows = connection.execute(select(*columns).select_from(files_of_stems)).all()
    return [
        row for row in rows if row.path is not None and stem_of(row.path) == row.stem
    ]


def _carry_verdicts(connection: Connection, image_id: int, to_image_id: int) -> None:
    # Apply the verdicts and the star of one image to another one: of two on one thing, the later one.
    if image_id == to_image_id:
        return
    stars = connection.execute(
        select(favourites).where(favourites.c.content_id == image_id)
    ).mappings()
    insert_missing(
        connection,
        favourites,
        [dict(row) | {"content_id": to_image_id} for row in stars],
    )
    away = connection.execute(
        select(dismissals).where(dismissals.c.content_id == image_id)
    )
    write_dismissals(
        connection,
        [NewDismissal(to_image_id, row.given_by, row.given_at) for row in away],
    )
    for subject, table in VERDICT_TABLES.items():
        given = connection.execute(select(table).where(table.c.content_id == image_id))
        carried = [
            NewVerdict(to_image_id, subject(about), VerdictKind(kind), *by_at)
            for _, about, kind, *by_at in given
        ]
        write_verdicts(connection, carried, newer_only=True)


def _move_writes(
    connection: Connection, photo_id: int, to_photo_id: int, image_id: int
) -> None:
    # Move the undo log of a photo's files to another photo and its image.
    digest = (
        select(contents.c.digest).where(contents.c.id == image_id).scalar_subquery()
    )
    connection.execute(
        update(metadata_writes)
        .where(metadata_writes.c.photo_id == photo_id)
        .values(photo_id=to_photo_id, image_digest=digest)
    )


def _move_sidecar_writes(connection: Connection, separated: Sequence[Row[Any]]) -> None:
    # Give separated files the undo log of their sidecars: `IMG_1.CR3.xmp` and `IMG_1.xmp` of the RAW.
    ids = {}
    for photo in separated:
        name = photo.path.rpartition("/")[2].lower()
        for base in (name, stem_of(name)):
            ids[photo.primary_id, f"{base}.xmp"] = photo.id
    query = select(
        metadata_writes.c.id, metadata_writes.c.photo_id, metadata_writes.c.file
    ).where(among(metadata_writes.c.photo_id, {row.primary_id for row in separated}))
    for row in connection.execute(query).all():
        photo_id = ids.get((row.photo_id, row.file.lower()))
        if photo_id is not None:
            own = metadata_writes.c.id == row.id
            connection.execute(
                update(metadata_writes).where(own).values(photo_id=photo_id)
            )
