"""Undoing merges of landmarks: what a merge changes is recorded in the audit log, for as long as that keeps it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.statements import among, lock_tables
from tagger.database.tables import (
    audit_log,
    contents,
    landmarks,
    models,
    tags,
    verdicts,
)
from tagger.errors import LandmarkInvalid
from tagger.library.catalog.contents import record_landmark
from tagger.library.catalog.landmark_uses import lock_images, move_labels, retire_classifiers
from tagger.library.catalog.landmarks import Landmark, find_landmark
from tagger.library.catalog.settlement import settle
from tagger.system.text_format import N_, gettext

_COLUMNS = [column.name for column in landmarks.columns if column.name != "id"]


@dataclass(frozen=True)
class UndoableMerge:
    """A landmark that was merged into another one, by its slug and name."""

    slug: str
    name: str


def changes_of_merge(merged: Landmark, target: Landmark, united: Mapping[str, Any]) -> dict[str, Any]:
    """What undoing needs, without verdicts: the landmark that is merged, and what `united` adds to `target`."""
    return {
        "landmark": {column: getattr(merged, column) for column in _COLUMNS},
        "added": {
            column: [each for each in united[column] if each not in getattr(target, column)]
            for column in ("aliases", "merged_slugs", "edited")
        },
        "filled": {
            column: value
            for column, value in united.items()
            if getattr(target, column) is None and value is not None
        },
    }


def verdicts_of_merge(
    connection: Connection, merged: Landmark, target: Landmark, page: int
) -> Iterator[list[dict[str, Any]]]:
    """The verdicts on the landmark that is merged, and those on `target` on the same images, in pages."""
    own = select(verdicts.c.content_id).where(verdicts.c.landmark_id == merged.id)
    query = (
        select(contents.c.digest, verdicts)
        .join(contents, contents.c.id == verdicts.c.content_id)
        .where(verdicts.c.landmark_id.in_([merged.id, target.id]), verdicts.c.content_id.in_(own))
        .order_by(verdicts.c.content_id)
    )
    for rows in connection.execute(query).partitions(page):
        yield [
            {
                "digest": row.digest,
                "of": "merged" if row.landmark_id == merged.id else "target",
                "verdict": row.verdict,
                "by": row.given_by,
                "at": row.given_at.isoformat(),
            }
            for row in rows
        ]


def undoable_merges(connection: Connection, target: Landmark) -> list[UndoableMerge]:
    """The landmarks that were merged into this one and can be separated again, the last one first."""
    found = {
        entry.subject: entry.details["undo"]["landmark"]["name"] for entry in _merges(connection, target)
    }
    return [UndoableMerge(slug, name) for slug, name in found.items()]


def undo_merge(connection: Connection, name: str, merged_slug: str) -> Landmark:
    """Separate a landmark from the one that it was merged into. Verdicts that people gave or withdrew since stay as they are.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `find_landmark`.
        LandmarkInvalid: the audit log does not have the merge any more.
    """
    lock_tables(connection, models, landmarks)
    target = find_landmark(connection, name)
    entry = next((entry for entry in _merges(connection, target) if entry.subject == merged_slug), None)
    if entry is None:
        reason = N_("the merge of %(name)s cannot be undone any more")
        raise LandmarkInvalid(reason=gettext(reason, name=merged_slug))
    undo = entry.details["undo"]
    retire_classifiers(connection, target)
    images = lock_images(connection, target)
    record_landmark(connection, target.id)
    columns = _columns_before(target, undo)
    connection.execute(update(landmarks).where(landmarks.c.id == target.id).values(columns))
    merged_id = connection.execute(
        insert(landmarks).values(undo["landmark"]).returning(landmarks.c.id)
    ).scalar_one()
    _move_back(connection, target.id, merged_id, undo)
    _restore_verdicts(connection, {"merged": merged_id, "target": target.id}, _verdicts_of(connection, entry))
    settle(connection, images)
    record_action(connection, AuditAction.LANDMARK_UNMERGE, merged_slug, out_of=target.slug)
    return find_landmark(connection, merged_slug)


def _merges(connection: Connection, target: Landmark) -> list[Row[Any]]:
    """The entries of merges into a landmark that still apply, each the first of its merge, newest first."""
    entries = connection.execute(
        select(audit_log)
        .where(audit_log.c.action == AuditAction.LANDMARK_MERGE, audit_log.c.subject.in_(target.merged_slugs))
        .order_by(audit_log.c.id.desc())
    )
    newest: dict[str, Row[Any]] = {}
    for entry in entries:
        if "continues" not in entry.details:
            newest.setdefault(entry.subject, entry)
    return [
        entry for entry in newest.values() if entry.details["into"] == target.slug and "undo" in entry.details
    ]


def _columns_before(target: Landmark, undo: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a landmark without what the merge added to it."""
    lists = {
        column: [each for each in getattr(target, column) if each not in added]
        for column, added in undo["added"].items()
    }
    filled = {column: None for column, value in undo["filled"].items() if getattr(target, column) == value}
    return lists | filled


def _move_back(connection: Connection, target_id: int, merged_id: int, undo: Mapping[str, Any]) -> None:
    """Give labels with their tags, also those of models that came since, back to the landmark that was merged."""
    slugs = {undo["landmark"]["slug"], *undo["landmark"]["merged_slugs"]}
    for model_id in move_labels(connection, target_id, slugs, merged_id):
        # No model has a label for each of the two, so all its tags are of this label.
        of_label = tags.c.model_id == model_id, tags.c.landmark_id == target_id
        connection.execute(update(tags).where(*of_label).values(landmark_id=merged_id))


def _verdicts_of(connection: Connection, first: Row[Any]) -> Iterator[dict[str, Any]]:
    """The verdicts of a merge, which has more entries after the first one if there are many."""
    yield from first.details["verdicts_before"]
    further = (
        audit_log.c.action == first.action,
        audit_log.c.subject == first.subject,
        audit_log.c.id > first.id,
    )
    for entry in connection.execute(select(audit_log).where(*further).order_by(audit_log.c.id)):
        if entry.details.get("continues") == first.id:
            yield from entry.details.get("verdicts_before", ())


def _restore_verdicts(
    connection: Connection, landmark_ids: Mapping[str, int], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Restore verdicts on images whose verdict is still the newer one of both, as the merge left it."""
    before: dict[str, dict[str, Mapping[str, Any]]] = {}
    for each in rows:
        before.setdefault(each["digest"], {})[each["of"]] = each
    current = select(contents.c.digest, verdicts).join(contents, contents.c.id == verdicts.c.content_id)
    of_target = verdicts.c.landmark_id == landmark_ids["target"], among(contents.c.digest, list(before))
    for row in connection.execute(current.where(*of_target)).all():
        left = before[row.digest]
        newer = max(left.values(), key=lambda each: (datetime.fromisoformat(each["at"]), each["of"]))
        if (row.verdict, row.given_at) != (newer["verdict"], datetime.fromisoformat(newer["at"])):
            continue
        connection.execute(
            delete(verdicts).where(
                verdicts.c.content_id == row.content_id, verdicts.c.landmark_id == row.landmark_id
            )
        )
        for of, each in left.items():
            values = {"landmark_id": landmark_ids[of], "verdict": each["verdict"], "given_by": each["by"]}
            given_at = datetime.fromisoformat(each["at"])
            connection.execute(
                insert(verdicts).values(content_id=row.content_id, given_at=given_at, **values)
            )
