"""Merging two landmarks, and removing one that people added: what becomes of the rows that refer to them.

Its classifiers are deleted with its row (`ON DELETE CASCADE`).
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, func, select, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.statements import lock_tables
from tagger.database.tables import (
    classifiers,
    contents,
    landmarks,
    model_labels,
    models,
    schedules,
    taught_tags,
    verdicts,
)
from tagger.errors import (
    Conflict,
    LandmarkAmbiguous,
    LandmarkInvalid,
    LandmarkNotFound,
    LandmarkOfModel,
    LandmarksDistinct,
)
from tagger.landmarks.landmarks import Landmark, find_landmark
from tagger.tags.causes import delete_of_landmark, lock_images_of, move_to_landmark
from tagger.tags.contents import delete_unused, record_landmark
from tagger.texts.text_format import N_, gettext

PAGE = 500


@dataclass(frozen=True)
class MergedLandmark:
    """A landmark after another one was merged into it.

    `verdicts` and `tags` count what came from the other one, `replaced` the opposite verdicts on the same
    image, of which the newer one stays. `taught_tags` counts the tags and suggestions that were learned for
    the other one; they are gone.
    """

    landmark: Landmark
    merged: Landmark
    verdicts: int
    tags: int
    replaced: int
    taught_tags: int


@dataclass(frozen=True)
class RemovedLandmarkDocument:
    """A removed landmark, the verdicts that went with it, and the schedules that select photos by it."""

    landmark: str
    name: str
    confirmed: int
    rejected: int
    taught_tags: int
    schedules: list[str]
    dry_run: bool


def merge_landmark(database: Database, name: str, into: str, *, dry_run: bool = False) -> MergedLandmark:
    """Give verdicts, tags, names and labels of a landmark to another one, which its slug finds from now on.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `find_landmark`.
        LandmarkInvalid: both are the same landmark.
        LandmarksDistinct: a model has a label for each of them.
    """
    with database.write(dry_run=dry_run) as connection:
        lock_tables(connection, models, landmarks)
        merged, target = find_landmark(connection, name), find_landmark(connection, into)
        if merged.id == target.id:
            reason = N_("%(name)s and %(other)s are both %(landmark)s, so there is nothing to merge")
            raise LandmarkInvalid(reason=gettext(reason, name=name, other=into, landmark=target.display_name))
        if both := _models_of_both(connection, merged, target):
            names = {"name": merged.display_name, "other": target.display_name}
            raise LandmarksDistinct(merged=merged.slug, target=target.slug, models=", ".join(both), **names)
        taught = _retire_classifiers(connection, merged)
        united = _united(target, merged)
        images = lock_images_of(connection, merged.id, target.id)
        for each in (merged, target):
            record_landmark(connection, each.id)
        replaced = list(_opposite_verdicts(connection, merged, target))
        counts = move_to_landmark(connection, images, merged.id, target.id)
        is_label = model_labels.c.landmark_id == merged.id
        connection.execute(update(model_labels).where(is_label).values(landmark_id=target.id))
        connection.execute(delete(landmarks).where(landmarks.c.id == merged.id))
        connection.execute(update(landmarks).where(landmarks.c.id == target.id).values(united))
        details: dict[str, Any] = {"into": target.slug, **counts}
        pages: list[list[dict[str, Any]] | None] = [*replaced] or [None]
        for page in pages:  # an entry of the audit log for each
            record_action(connection, AuditAction.LANDMARK_MERGE, merged.slug, **details, replaced=page)
        return MergedLandmark(
            find_landmark(connection, target.slug),
            merged,
            **counts,
            replaced=sum(map(len, replaced)),
            taught_tags=taught,
        )


def remove_landmark(
    database: Database, name: str, *, with_verdicts: bool = False, dry_run: bool = False
) -> RemovedLandmarkDocument:
    """Remove a landmark that no registered model knows, with its verdicts.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `find_landmark`.
        LandmarkOfModel: a registered model knows it.
        Conflict: it has verdicts, and `with_verdicts` is not set.
    """
    with database.write(dry_run=dry_run) as connection:
        lock_tables(connection, models, landmarks)
        landmark = find_landmark(connection, name)
        names = select(models.c.name).join(model_labels, model_labels.c.model_id == models.c.id)
        known_by = connection.scalars(names.where(model_labels.c.landmark_id == landmark.id)).all()
        if known_by:
            raise LandmarkOfModel(
                slug=landmark.slug, name=landmark.display_name, models=", ".join(sorted(known_by))
            )
        taught = _retire_classifiers(connection, landmark)
        images = lock_images_of(connection, landmark.id)
        kinds = select(verdicts.c.verdict, func.count()).where(verdicts.c.landmark_id == landmark.id)
        rows = connection.execute(kinds.group_by(verdicts.c.verdict))
        counts: dict[str, int] = {row[0]: row[1] for row in rows}
        # A dry run shows the number of verdicts, and need not be told to delete them.
        if counts and not (with_verdicts or dry_run):
            total = sum(counts.values())
            count = f"{total} {'verdict' if total == 1 else 'verdicts'}"
            remedy = (
                "To keep them, merge it into another landmark with `tagger landmark merge`. "
                "To delete them too, add --with-verdicts."
            )
            raise Conflict(reason=f"{landmark.slug} has {count}, which would be lost. {remedy}")
        schedule_names = _schedules_of(connection, landmark)
        record_landmark(connection, landmark.id)
        delete_of_landmark(connection, images, landmark.id)
        delete_unused(connection, images)
        connection.execute(delete(landmarks).where(landmarks.c.id == landmark.id))
        record_action(connection, AuditAction.LANDMARK_REMOVE, landmark.slug, name=landmark.name, **counts)
        return RemovedLandmarkDocument(
            landmark.slug,
            landmark.name,
            counts.get("confirmed", 0),
            counts.get("rejected", 0),
            taught,
            schedule_names,
            dry_run,
        )


def _models_of_both(connection: Connection, one: Landmark, other: Landmark) -> Sequence[str]:
    """The names of the models that have a label for each of the two landmarks."""
    query = (
        select(models.c.name)
        .join(model_labels, model_labels.c.model_id == models.c.id)
        .where(model_labels.c.landmark_id.in_([one.id, other.id]))
        .group_by(models.c.name)
        .having(func.count() > 1)
        .order_by(models.c.name)
    )
    return connection.scalars(query).all()


def _opposite_verdicts(
    connection: Connection, merged: Landmark, target: Landmark
) -> Iterator[list[dict[str, Any]]]:
    """The older one of the opposite verdicts on each image, in pages, for the audit log."""
    one, other = verdicts.alias(), verdicts.alias()
    query: Select[Any] = (
        select(contents.c.digest, one, other.c.verdict.label("newer"))
        .join(contents, contents.c.id == one.c.content_id)
        .join(other, other.c.content_id == one.c.content_id)
        .where(
            one.c.landmark_id.in_([merged.id, target.id]),
            other.c.landmark_id.in_([merged.id, target.id]),
            one.c.landmark_id != other.c.landmark_id,
            one.c.verdict != other.c.verdict,
            # Of two verdicts with the same time, the one on `target` stays.
            (one.c.given_at < other.c.given_at)
            | and_(one.c.given_at == other.c.given_at, one.c.landmark_id == merged.id),
        )
        .order_by(one.c.content_id)
    )
    for rows in connection.execute(query).partitions(PAGE):
        yield [
            {
                "digest": row.digest,
                "verdict": row.verdict,
                "by": row.given_by,
                "at": row.given_at.isoformat(),
            }
            for row in rows
        ]


def _united(target: Landmark, merged: Landmark) -> dict[str, Any]:
    """The columns of `target` with the names and slugs of `merged`, and its facts where `target` has none."""
    names = dict.fromkeys([*target.aliases, *merged.all_names])
    known = {target.name, *target.names.values()}
    aliases = [name for name in names if name not in known]
    gaps = [column for column in ("country", "region", "city", "extent") if getattr(target, column) is None]
    if target.latitude is None or target.longitude is None:
        gaps += ["latitude", "longitude"]
    filled = {column: getattr(merged, column) for column in gaps if column not in target.edited}
    edited = {*target.edited, *(column for column in filled if column in merged.edited)}
    return {
        "aliases": aliases,
        "merged_slugs": [*target.merged_slugs, *merged.all_slugs],
        "edited": sorted(edited),
        **filled,
    }


def _schedules_of(connection: Connection, landmark: Landmark) -> list[str]:
    """The names of the schedules that select photos by the landmark."""
    rows = connection.execute(select(schedules.c.name, schedules.c.options).order_by(schedules.c.name)).all()
    return [row.name for row in rows if _is_named(connection, row.options.get("landmark"), landmark)]


def _is_named(connection: Connection, names: str | list[str] | None, landmark: Landmark) -> bool:
    for name in [names] if isinstance(names, str) else names or ():
        with suppress(LandmarkNotFound, LandmarkAmbiguous):
            if find_landmark(connection, name).id == landmark.id:
                return True
    return False


def _retire_classifiers(connection: Connection, landmark: Landmark) -> int:
    """Let workers read the classifiers again, without the landmark's. Returns the number of its taught tags.

    This waits for workers that compare images with its classifiers: they lock the version before tags.
    """
    of_landmark = classifiers.c.landmark_id == landmark.id
    using = models.c.id.in_(select(classifiers.c.model_id).where(of_landmark))
    connection.execute(update(models).where(using).values(taught_version=models.c.taught_version + 1))
    count = select(func.count()).where(taught_tags.c.landmark_id == landmark.id)
    return connection.scalar(count) or 0


def move_labels(connection: Connection, landmark_id: int, slugs: Collection[str], to: int) -> None:
    """Assign those labels of a landmark that have one of these slugs in their manifests to another one."""
    query = (
        select(models.c.manifest, model_labels.c.model_id, model_labels.c.position)
        .join(models, models.c.id == model_labels.c.model_id)
        .where(model_labels.c.landmark_id == landmark_id)
    )
    for row in connection.execute(query).all():
        if row.manifest["labels"][row.position]["slug"] in slugs:
            label = model_labels.c.model_id == row.model_id, model_labels.c.position == row.position
            connection.execute(update(model_labels).where(*label).values(landmark_id=to))
