"""Registration of a model file: one transaction that stores the model, its labels and its landmarks.

Landmarks of a manifest are united with those that are there; what a person set stays.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from tagger.database.connection import (
    AuditAction,
    Database,
    display_language,
    record_action,
)
from tagger.database.statements import among, insert_page, lock_tables
from tagger.database.tables import landmarks, model_labels, models
from tagger.errors import AlreadyExists, ModelRefused
from tagger.geo import is_in_region, region_of_slug
from tagger.landmarks import (
    Landmark,
    all_landmarks,
    landmarks_by_slug,
    normalize_name,
)
from tagger.landmarks.edits import move_labels
from tagger.model.artifact import (
    Label,
    LandmarkFacts,
    Manifest,
    file_digest,
    manifest_document,
)
from tagger.tags import models_in_use, record_landmark, record_sights
from tagger.texts.names import name_in_language
from tagger.things import record_things

log = logging.getLogger(__name__)

# The fields of a label that no landmark has.
_OF_THE_MODEL = {"label", "parent"}


def record_landmarks(connection: Connection, manifest: Manifest) -> dict[str, int]:
    """Record a manifest's landmarks. Returns ids by slug.

    What a person set stays. Of the rest, the newest model's facts win, an older one's fill gaps. A label of a
    landmark that was merged stands for the landmark it was merged into.
    """
    times = connection.scalars(select(models.c.manifest["created_at"].as_string()))
    newest = all(
        manifest.created_at.timestamp() >= datetime.fromisoformat(time).timestamp()
        for time in times
    )
    every = all_landmarks(connection)
    if _separate_distinct(connection, manifest, every):
        every = all_landmarks(connection)
    existing = {landmark.slug: landmark for landmark in every}
    by_slug = {slug: landmark for landmark in every for slug in landmark.all_slugs}
    united = _united(manifest, by_slug, every)
    for slug, landmark in united.items():
        merged_slugs = [*landmark.merged_slugs, slug]
        connection.execute(
            update(landmarks)
            .where(landmarks.c.id == landmark.id)
            .values(merged_slugs=merged_slugs)
        )
    names = tuple(LandmarkFacts.model_fields)
    new = [
        label
        for label in manifest.labels
        if label.slug not in by_slug and label.slug not in united
    ]
    record_sights(
        connection,
        [label.name for label in new if label.latitude is not None],
    )
    # As drivers take them: columns of JSON get text.
    rows = (
        tuple(
            json.dumps(fact) if isinstance(fact, dict | tuple) else fact
            for fact in attrgetter(*names)(label)
        )
        for label in new
    )
    insert_page(connection, landmarks, names, rows)
    for label in manifest.labels:
        is_placed = label.latitude is not None
        known = existing.get(label.slug) or (
            united.get(label.slug) if is_placed else None
        )
        # A label may have only a name, and the landmark the same.
        is_name_alone = label.model_fields_set <= {"label", "slug", "name"}
        if known is not None and not (is_name_alone and label.name == known.name):
            _update_facts(connection, known, label, newest=newest)
    ids = {slug: landmark.id for slug, landmark in (by_slug | united).items()}
    return ids | {
        row.slug: row.id
        for row in connection.execute(select(landmarks.c.slug, landmarks.c.id))
    }


def _united(
    manifest: Manifest,
    by_slug: Mapping[str, Landmark],
    every: Iterable[Landmark],
) -> dict[str, Landmark]:
    # The landmarks that new labels stand for although they have other slugs: those of their names.
    # Of the two, one must have a position, and the other the part of the world around it in its slug. Two
    # landmarks of the name, or two labels, make it uncertain which is meant.
    by_name: dict[str, list[Landmark]] = {}
    known = {
        by_slug[label.slug].id for label in manifest.labels if label.slug in by_slug
    }
    for landmark in every:
        if landmark.id not in known:
            for name in set(map(normalize_name, landmark.all_names)):
                by_name.setdefault(name, []).append(landmark)
    landmarks_of: dict[int, list[tuple[str, Landmark]]] = {}
    for label in manifest.labels if by_name else ():
        if label.slug not in by_slug and (
            same_name := by_name.get(normalize_name(label.name))
        ):
            matches = [
                landmark for landmark in same_name if _is_same_place(label, landmark)
            ]
            if len(matches) == 1:
                landmarks_of.setdefault(matches[0].id, []).append(
                    (label.slug, matches[0])
                )
    return dict(each[0] for each in landmarks_of.values() if len(each) == 1)


def _is_same_place(label: Label, landmark: Landmark) -> bool:
    placed, other = (landmark, label) if label.latitude is None else (label, landmark)
    if (
        placed.latitude is None
        or placed.longitude is None
        or other.latitude is not None
    ):
        return False
    region = region_of_slug(other.slug, other.name)
    return region is not None and is_in_region(
        region, placed.latitude, placed.longitude
    )


def _separate_distinct(
    connection: Connection, manifest: Manifest, every: Iterable[Landmark]
) -> bool:
    # Separate merged landmarks that the model tells apart, without their verdicts and tags.
    # Returns whether there were any.
    labels = {label.slug: label for label in manifest.labels}
    has_separated = False
    for landmark in every:
        if not landmark.merged_slugs:
            continue
        first, *others = [slug for slug in landmark.all_slugs if slug in labels] or [""]
        for slug in others:
            log.warning(
                "%s is a landmark of its own again: the model %s tells it apart from %s",
                *(slug, manifest.name, first),
            )
            # A landmark for the label, with the labels of other models of that slug.
            landmark_id = connection.execute(
                insert(landmarks)
                .values(labels[slug].model_dump(exclude=_OF_THE_MODEL))
                .returning(landmarks.c.id)
            ).scalar_one()
            move_labels(connection, landmark.id, {slug}, landmark_id)
        if others:
            has_separated = True
            merged_slugs = [
                slug for slug in landmark.merged_slugs if slug not in others
            ]
            connection.execute(
                update(landmarks)
                .where(landmarks.c.id == landmark.id)
                .values(merged_slugs=merged_slugs)
            )
    return has_separated


def _update_facts(
    connection: Connection, landmark: Landmark, label: Label, *, newest: bool
) -> None:
    facts = label.model_dump(exclude={*_OF_THE_MODEL, "slug"})
    old = {column: getattr(landmark, column) for column in facts}
    under, over = (old, facts) if newest else (facts, old)
    if (
        over["name"].replace(" ", "-") == landmark.slug
    ):  # the name of a folder of training photos
        over = over | {"name": None}
    # Coordinates stay together, names and aliases are united.
    merged = {
        column: under[column] if value is None else value
        for column, value in over.items()
    }
    if over["latitude"] is None or over["longitude"] is None:
        merged |= {"latitude": under["latitude"], "longitude": under["longitude"]}
    merged["names"] = under["names"] | over["names"]
    merged["aliases"] = list(dict.fromkeys([*over["aliases"], *under["aliases"]]))
    merged |= {column: old[column] for column in landmark.edited}
    if merged != old:
        record_sights(
            connection,
            [
                *landmark.all_names,
                merged["name"],
                *merged["aliases"],
            ],
        )
        connection.execute(
            update(landmarks).where(landmarks.c.id == landmark.id).values(merged)
        )
    if any(
        merged[column] != old[column] for column in ("latitude", "longitude", "extent")
    ):
        record_landmark(connection, landmark.id)


def landmarks_of_labels(
    connection: Connection, labels: Iterable[Label]
) -> list[Landmark]:
    """The landmark of each label, in order; of an unregistered model, as its manifest describes it."""
    labels = list(labels)
    by_slug = landmarks_by_slug(connection, {label.slug for label in labels})
    language = display_language(connection)
    nothing: dict[str, Any] = {"id": 0, "edited": [], "merged_slugs": [], "own": False}
    label_landmarks = []
    for label in labels:
        landmark = by_slug.get(label.slug)
        if landmark is None:
            facts = label.model_dump(exclude=_OF_THE_MODEL) | {
                "aliases": list(label.aliases)
            }
            name = name_in_language(label.name, label.names, language)
            landmark = Landmark(**nothing, display_name=name, **facts)
        label_landmarks.append(landmark)
    return label_landmarks


def landmark_ids_of_labels(
    connection: Connection, model_id: int, positions: Collection[int]
) -> dict[int, int]:
    """The landmark ids of these labels of a model, by their positions in its scores."""
    of_labels = (
        model_labels.c.model_id == model_id,
        among(model_labels.c.position, positions),
    )
    rows = connection.execute(
        select(model_labels.c.position, model_labels.c.landmark_id).where(*of_labels)
    )
    return {row.position: row.landmark_id for row in rows}


def register(
    database: Database,
    digest: str,
    manifest: Manifest,
    *,
    file: Path | None,
    name: str | None,
) -> int:
    """Register a model, and return its id. `file` is None for the shipped model. One digest has one row.

    The transaction locks the registry, so that two processes that register the same model end with one row.

    Raises:
        ModelRefused: its manifest or path cannot be stored.
        AlreadyExists: another model has `name`.
    """
    path = None if file is None else str(file)
    try:
        (path or "").encode()
    except UnicodeEncodeError as error:
        reason = "its path is not UTF-8, which the registry cannot store"
        raise ModelRefused(path=file, reason=reason) from error

    # The manifest as JSON for either database: PostgreSQL stores neither NaN nor the null
    # character.
    document = manifest_document(manifest)
    try:
        storable = "\\u0000" not in json.dumps(document, allow_nan=False)
    except ValueError:
        storable = False
    if not storable:
        raise ModelRefused(
            path=path or models_in_use.shipped_file(manifest.kind),
            reason="its manifest has a value that no database can store",
        )

    with database.write() as connection:
        lock_tables(connection, models)
        existing = connection.execute(
            select(models).where(models.c.digest == digest)
        ).one_or_none()
        if existing is None:
            model_id = _insert_model(connection, digest, document, path=path, name=name)
        else:
            model_id = int(existing.id)
            _update_existing(connection, existing, document, path=path, name=name)
        if manifest.kind == models_in_use.THINGS:
            # Names of things are those of the model that was added last, also if it was there already.
            record_things(connection, model_id, manifest.labels)
        elif existing is None or existing.manifest != document:
            landmark_ids = record_landmarks(connection, manifest)
            connection.execute(
                delete(model_labels).where(model_labels.c.model_id == model_id)
            )
            names = ("model_id", "position", "label", "landmark_id")
            rows = (
                (model_id, number, each.label, landmark_ids[each.slug])
                for number, each in enumerate(manifest.labels)
            )
            insert_page(connection, model_labels, names, rows)
        return model_id


def _insert_model(
    connection: Connection,
    digest: str,
    document: dict[str, Any],
    *,
    path: str | None,
    name: str | None,
) -> int:
    row = {
        "digest": digest,
        "name": _free_name(connection, digest, document["name"], name),
        "kind": document["kind"],
        "file": path,
        "manifest": document,
        "suggestion_threshold": document["suggestion_threshold"],
        "registered_at": datetime.now(UTC),
        "in_use": False,
    }
    model_id = connection.execute(
        insert(models).values(row).returning(models.c.id)
    ).scalar_one()
    if path is not None:  # any command registers the shipped model when it needs it
        record_action(
            connection,
            AuditAction.MODEL_ADD,
            row["name"],
            digest=digest,
            file=path,
        )
    return int(model_id)


def _update_existing(
    connection: Connection,
    existing: Row[Any],
    document: dict[str, Any],
    *,
    path: str | None,
    name: str | None,
) -> None:
    # Update a model that is registered again: its name, and its path if the old file is not the model.
    # If the stored manifest was imported, or written by an older version, the `document` of the file counts.
    if existing.manifest != document:
        connection.execute(
            update(models)
            .where(models.c.id == existing.id)
            .values(
                manifest=document,
                suggestion_threshold=document["suggestion_threshold"],
            )
        )
    changes: dict[str, object] = {}
    if path is not None and path != existing.file and not _file_is_current(existing):
        changes["file"] = path
    if name is not None and name != existing.name:
        changes["name"] = _free_name(connection, existing.digest, name, name)
    if changes:
        connection.execute(
            update(models).where(models.c.id == existing.id).values(changes)
        )
        subject = changes.get("name", existing.name)
        record_action(
            connection,
            AuditAction.MODEL_ADD,
            subject,
            digest=existing.digest,
            file=changes.get("file"),
        )


def _file_is_current(existing: Row[Any]) -> bool:
    if existing.digest == models_in_use.shipped_digest(existing.kind):
        return True
    return (
        existing.file is not None
        and Path(existing.file).is_file()
        and file_digest(Path(existing.file)) == existing.digest
    )


def _free_name(
    connection: Connection, digest: str, default: str, name: str | None
) -> str:
    candidate = name or default
    count = connection.scalar(
        select(func.count())
        .select_from(models)
        .where(models.c.name == candidate, models.c.digest != digest)
    )
    if not count:
        return candidate
    if name is not None:
        raise AlreadyExists(
            what=f"Another model {name}", remedy="Choose another --name, or omit it"
        )
    return f"{candidate}-{digest[:8]}"
