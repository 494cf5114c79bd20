"""The landmarks of a model: recorded from its manifest, and found by its labels.

Landmarks of a manifest are united with those that are there; what a person set stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from tagger.database.connection import display_language
from tagger.database.tables import landmarks, model_labels, models
from tagger.library.catalog.landmarks import Landmark, all_landmarks, landmark_ids_by_slug
from tagger.library.catalog.position_changes import record_landmark
from tagger.system.languages import name_in_language

if TYPE_CHECKING:
    from tagger.model.artifact import Label, Manifest

log = logging.getLogger(__name__)


def record_landmarks(connection: Connection, manifest: Manifest) -> dict[str, int]:
    """Record a manifest's landmarks. Returns ids by slug.

    What a person set stays. Of the rest, the newest model's facts win, an older one's fill gaps. A label of a landmark that
    was merged stands for the landmark it was merged into.
    """
    newest = manifest.created_at.timestamp() >= _newest_created_at(connection)
    _separate_distinct(connection, manifest)
    existing = {landmark.slug: landmark for landmark in all_landmarks(connection)}
    merged = landmark_ids_by_slug(connection).keys() - existing.keys()
    new = [
        label.model_dump(exclude={"label"})
        for label in manifest.labels
        if label.slug not in existing and label.slug not in merged
    ]
    if new:
        connection.execute(insert(landmarks), new)
    for label in manifest.labels:
        if label.slug in existing:
            _update_facts(connection, existing[label.slug], label, newest=newest)
    return landmark_ids_by_slug(connection)


def _newest_created_at(connection: Connection) -> float:
    from tagger.model.artifact import Manifest

    manifests = map(Manifest.model_validate, connection.scalars(select(models.c.manifest)))
    return max((manifest.created_at.timestamp() for manifest in manifests), default=float("-inf"))


def _separate_distinct(connection: Connection, manifest: Manifest) -> None:
    """Take back merges of landmarks that the model tells apart: each of its labels needs a landmark. Verdicts and tags stay."""
    labels = {label.slug: label for label in manifest.labels}
    for landmark in all_landmarks(connection):
        first, *others = [slug for slug in landmark.all_slugs if slug in labels] or [""]
        for slug in others:
            log.warning(
                "%s is a landmark of its own again: the model %s tells it apart from %s",
                *(slug, manifest.name, first),
            )
            _separate(connection, landmark, labels[slug])
        if others:
            merged_slugs = [slug for slug in landmark.merged_slugs if slug not in others]
            changed = update(landmarks).where(landmarks.c.id == landmark.id)
            connection.execute(changed.values(merged_slugs=merged_slugs))


def _separate(connection: Connection, landmark: Landmark, label: Label) -> None:
    """Add a landmark for the label, for which labels of other models stand too that were merged into `landmark`."""
    new = insert(landmarks).values(label.model_dump(exclude={"label"})).returning(landmarks.c.id)
    landmark_id = connection.execute(new).scalar_one()
    query = (
        select(models.c.manifest, model_labels.c.model_id, model_labels.c.position)
        .join(models, models.c.id == model_labels.c.model_id)
        .where(model_labels.c.landmark_id == landmark.id)
    )
    for row in connection.execute(query).all():
        if row.manifest["labels"][row.position]["slug"] == label.slug:
            same_label = (model_labels.c.model_id == row.model_id) & (model_labels.c.position == row.position)
            connection.execute(update(model_labels).where(same_label).values(landmark_id=landmark_id))


def _update_facts(connection: Connection, landmark: Landmark, label: Label, *, newest: bool) -> None:
    facts = label.model_dump(exclude={"label", "slug"})
    old = {column: getattr(landmark, column) for column in facts}
    merged = _merge_facts(old, facts) if newest else _merge_facts(facts, old)
    merged |= {column: old[column] for column in landmark.edited}
    if merged != old:
        connection.execute(update(landmarks).where(landmarks.c.id == landmark.id).values(merged))
    if any(merged[column] != old[column] for column in ("latitude", "longitude", "extent")):
        record_landmark(connection, landmark.id)


def _merge_facts(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` without its None values, which `under` replaces. Latitude and longitude are taken together, names and aliases united."""
    merged = {column: under[column] if value is None else value for column, value in over.items()}
    if over["latitude"] is None or over["longitude"] is None:
        merged |= {"latitude": under["latitude"], "longitude": under["longitude"]}
    aliases = list(dict.fromkeys([*over["aliases"], *under["aliases"]]))
    return merged | {"names": under["names"] | over["names"], "aliases": aliases}


def landmarks_of_labels(connection: Connection, labels: Iterable[Label]) -> list[Landmark]:
    """The landmark of each label, in order; of a model that is not registered, as its manifest describes it."""
    by_slug = {slug: landmark for landmark in all_landmarks(connection) for slug in landmark.all_slugs}
    language = display_language(connection)
    return [by_slug.get(label.slug) or _unregistered(label, language) for label in labels]


def _unregistered(label: Label, language: str | None) -> Landmark:
    facts = label.model_dump(exclude={"label"}) | {"aliases": list(label.aliases)}
    display_name = name_in_language(label.name, label.names, language)
    return Landmark(id=0, edited=[], merged_slugs=[], own=False, display_name=display_name, **facts)


def landmark_ids_of_labels(connection: Connection, model_id: int) -> tuple[int, ...]:
    """The landmark id of each label of a model, in the order of its scores."""
    query = select(model_labels.c.landmark_id).where(model_labels.c.model_id == model_id)
    return tuple(connection.scalars(query.order_by(model_labels.c.position)))
