"""The only module that writes what decides about landmarks and things on images.

That is: classifications, predictions, taught tags, odds of positions, verdicts, dismissals and things. Each
function locks the images that it changes, and settles their landmarks before it returns. Only what a batch or
an update of positions stores is settled by its caller: once, when the odds are stored too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union,
    update,
)

from tagger.database import Outcome, VerdictKind
from tagger.database.connection import record_decisions
from tagger.database.statements import (
    IDS,
    among,
    insert_page,
    lock_tables,
    upsert,
)
from tagger.database.tables import (
    SKETCHED_BLOCK,
    classifications,
    contents,
    dismissals,
    embeddings,
    image_things,
    jobs,
    models,
    sight_verdicts,
    sketches,
    tags,
    taught_tags,
    thing_verdicts,
    verdicts,
)
from tagger.tags import lock_contents, queue_position_updates
from tagger.tags.models_in_use import LANDMARKS, THINGS, ids_in_use
from tagger.tags.rule import PositionOdds
from tagger.tags.settlement import PAGE, EffectiveTags, settle

if TYPE_CHECKING:
    from tagger.ledger.chunks import Claim
    from tagger.pipeline import Classified

# The scores of taught landmarks that images probably show, by content id and landmark id.
TaughtTags = Mapping[int, Mapping[int, float]]


@dataclass(frozen=True)
class ComparedBatch:
    """Taught tags of images by one model, and its embeddings of them.

    `embeddings`: content id, the version of the classifiers that each was compared with, and the data.
    """

    tags: TaughtTags
    embeddings: Sequence[tuple[int, int, bytes]]


# The tables of what a model says of images, except the last model of an image, which is in
# `contents`.
_RESULTS = (classifications, tags, taught_tags, embeddings, image_things)


def store_classifications(
    connection: Connection,
    claim: Claim,
    classified: Mapping[int, Classified],
    landmark_ids: Mapping[int, Mapping[int, int]],
    compared: Mapping[int, ComparedBatch],
) -> None:
    """Replace what models of landmarks say of images, which are not settled yet.

    `landmark_ids`: of each of these models' labels, by their positions in its scores. The results of other
    models stay. If none of the job's models is in use, those from before the job go.
    """
    lock_contents(connection, classified)
    in_use = chain(*ids_in_use(connection, [LANDMARKS]))
    if classified and landmark_ids.keys().isdisjoint(in_use):
        _delete_earlier(connection, claim.job_id, classified)
    now = datetime.now(UTC)
    # The first of the models is the last one that is stored.
    for model_id, threshold in reversed(list(claim.thresholds.items())):
        own = {
            key: result
            for key, result in classified.items()
            if model_id in result.results
        }
        if model_id not in landmark_ids or not own:
            continue
        _delete_results(connection, model_id, own)

        # The model is the last one of these images, after the one that was.
        connection.execute(_INSERT_EARLIER, {"ids": list(own), "model": model_id})
        of_contents = [
            {
                "content": content_id,
                "width": result.width,
                "height": result.height,
                "model_id": model_id,
                "top_k": claim.top_k,
                "threshold": threshold,
                "damaged": result.is_damaged,
                "colours": result.colours,
                "outcome": Outcome.TAGGED if result.is_tagged else Outcome.UNKNOWN,
                "classified_at": now,
            }
            for content_id, result in sorted(own.items())
        ]
        connection.execute(_UPDATE_CONTENT, of_contents)

        # Its predictions, then what was taught for it.
        landmark_of = landmark_ids[model_id]
        predictions = [
            (
                content_id,
                each.rank,
                landmark_of[each.position],
                each.score,
                each.score >= threshold,
                model_id,
            )
            for content_id, result in own.items()
            for each in result.results[model_id].predictions
        ]
        names = ("content_id", "rank", "landmark_id", "score", "enough", "model_id")
        insert_page(connection, tags, names, predictions)
        _insert_taught_tags(connection, model_id, compared[model_id].tags)

        # Its embeddings; those of other images of a block are sketched anew with them.
        rows = [(*row, model_id) for row in compared[model_id].embeddings]
        insert_page(
            connection,
            embeddings,
            ("content_id", "taught_version", "data", "model_id"),
            rows,
        )
        blocks = {content_id // SKETCHED_BLOCK for content_id, *_ in rows}
        connection.execute(_DELETE_SKETCHES, {"ids": list(blocks), "model": model_id})


def store_things(
    connection: Connection,
    claim: Claim,
    classified: Mapping[int, Classified],
    things: Mapping[int, Mapping[int, str]],
) -> None:
    """Replace the things that models find on images. `things`: of each model, by positions in its scores.

    What a model of the package finds replaces what those of earlier packages found.
    """
    replaced = {ids[0]: ids[1:] for ids in ids_in_use(connection, [THINGS])}
    now = datetime.now(UTC)
    for model_id, labels in things.items():
        own = {
            key: each.results[model_id]
            for key, each in classified.items()
            if model_id in each.results
        }
        _delete_results(connection, model_id, own)
        for earlier_id in replaced.get(model_id, ()):
            found = {"ids": list(own), "model": earlier_id}
            connection.execute(_DELETE_OF_MODEL[image_things], found)
        options = (model_id, claim.top_k, claim.thresholds[model_id], now)
        insert_page(
            connection,
            classifications,
            ("content_id", *_CLASSIFICATION),
            [(key, *options) for key in own],
        )
        rows = [
            (key, labels[each.position], model_id, each.score)
            for key in sorted(own)
            for each in own[key].predictions
            if each.accepted
        ]
        insert_page(
            connection, image_things, ("content_id", "thing", "model_id", "score"), rows
        )


def _delete_earlier(
    connection: Connection, job_id: int, content_ids: Collection[int]
) -> None:
    recorded_at = select(jobs.c.created_at).where(jobs.c.id == job_id).scalar_subquery()
    # Null: before 2.1, by a model that was not the last one.
    at = contents.c.classified_at
    earlier = connection.scalars(
        select(contents.c.id).where(
            among(contents.c.id, content_ids), or_(at.is_(None), at < recorded_at)
        )
    ).all()
    of_landmarks = select(models.c.id).where(models.c.kind == LANDMARKS)
    for table in _RESULTS:
        of_images = (
            among(table.c.content_id, earlier),
            table.c.model_id.in_(of_landmarks),
        )
        connection.execute(delete(table).where(*of_images))
    connection.execute(
        update(contents).where(among(contents.c.id, earlier)).values(model_id=None)
    )


def _delete_results(
    connection: Connection, model_id: int, content_ids: Collection[int]
) -> None:
    for table in _RESULTS:
        connection.execute(
            _DELETE_OF_MODEL[table],
            {"ids": list(content_ids), "model": model_id},
        )


# Built once: they run for each batch of photos, and to build them takes longer than to run them.
_DELETE_OF_MODEL = {
    table: delete(table).where(
        among(table.c.content_id, IDS),
        table.c.model_id == bindparam("model"),
    )
    for table in _RESULTS
}
_DELETE_SKETCHES = delete(sketches).where(
    among(sketches.c.block, IDS),
    sketches.c.model_id == bindparam("model"),
)
_CLASSIFICATION = ("model_id", "top_k", "threshold", "classified_at")
# Records the last classifications of images, which one by this model follows.
_INSERT_EARLIER = insert(classifications).from_select(
    ("content_id", *_CLASSIFICATION),
    select(contents.c.id, *(contents.c[name] for name in _CLASSIFICATION)).where(
        among(contents.c.id, IDS),
        contents.c.model_id != bindparam("model"),
    ),
)
_UPDATE_CONTENT = update(contents).where(contents.c.id == bindparam("content"))


def delete_model_results(
    connection: Connection, model_id: int, after: int
) -> Sequence[int]:
    """Delete what a model says of the next page of images `after` this one. Returns their ids.

    The model before it, if there is one, is then the last one of an image.
    """
    id_columns = (contents.c.id, *(table.c.content_id for table in _RESULTS))
    pages = (
        select(column)
        .where(column.table.c.model_id == model_id, column > after)
        .order_by(column)
        .limit(PAGE)
        for column in id_columns
    )
    (image_id,) = union(*(select(page.subquery()) for page in pages)).subquery().c
    content_ids = connection.scalars(
        select(image_id).order_by(image_id).limit(PAGE)
    ).all()
    lock_contents(connection, content_ids)
    is_last = among(contents.c.id, content_ids) & (contents.c.model_id == model_id)
    # Those before 2.1 have no time; the newest model is likely to be the last one.
    in_order = classifications.c.classified_at.nulls_first(), classifications.c.model_id
    of_others = (
        select(classifications)
        .where(classifications.c.content_id.in_(select(contents.c.id).where(is_last)))
        .where(classifications.c.model_id != model_id)
        .order_by(*in_order)
    )
    latest = {row.content_id: row for row in connection.execute(of_others)}
    if latest:
        values = [
            {"content": key} | {name: getattr(row, name) for name in _CLASSIFICATION}
            for key, row in latest.items()
        ]
        connection.execute(_UPDATE_CONTENT, values)
        of_row = delete(classifications).where(
            classifications.c.content_id == bindparam("content"),
            classifications.c.model_id == bindparam("model"),
        )
        keys = [{"content": row["content"], "model": row["model_id"]} for row in values]
        connection.execute(of_row, keys)
    nothing = dict.fromkeys((*_CLASSIFICATION, "outcome"))
    connection.execute(update(contents).where(is_last).values(nothing))
    _delete_results(connection, model_id, content_ids)
    settle(connection, content_ids)
    return content_ids


def replace_taught_tags(
    connection: Connection,
    model_id: int,
    new_tags: TaughtTags,
    *conditions: ColumnElement[bool],
) -> EffectiveTags:
    """Replace the taught tags of images by a model: those with these conditions."""
    lock_contents(connection, new_tags)
    connection.execute(
        delete(taught_tags).where(
            among(taught_tags.c.content_id, new_tags),
            taught_tags.c.model_id == model_id,
            *conditions,
        )
    )
    _insert_taught_tags(connection, model_id, new_tags)
    return settle(connection, new_tags)


def _insert_taught_tags(
    connection: Connection, model_id: int, new_tags: TaughtTags
) -> None:
    rows = [
        (content_id, landmark_id, score, model_id)
        for content_id in sorted(new_tags)
        for landmark_id, score in new_tags[content_id].items()
    ]
    insert_page(
        connection,
        taught_tags,
        ("content_id", "landmark_id", "score", "model_id"),
        rows,
    )


def store_odds(
    connection: Connection, changes: Iterable[tuple[Row[Any], PositionOdds | None]]
) -> set[int]:
    """Store odds of positions with their tags. Returns the ids of the images, which are not settled yet.

    A tag that has another score than its row was replaced meanwhile, and stays.
    """
    ordered = sorted(
        changes, key=lambda change: (change[0].content_id, change[0].landmark_id)
    )
    images = {row.content_id for row, _ in ordered}
    if images:
        lock_contents(connection, images)
    for table in (tags, taught_tags):
        rows = [
            {
                "content": row.content_id,
                "landmark": row.landmark_id,
                "model": row.model_id,
                "same_score": row.score,
                "position_odds": odds and odds.odds,
                "distance_m": odds and odds.distance_m,
                "odds_reason": odds and odds.reason,
            }
            for row, odds in ordered
            if row.is_taught == (table is taught_tags)
        ]
        same_tag = update(table).where(
            table.c.content_id == bindparam("content"),
            table.c.landmark_id == bindparam("landmark"),
            table.c.model_id == bindparam("model"),
            table.c.score == bindparam("same_score"),
        )
        if rows:
            connection.execute(same_tag, rows)
    return images


class SightName(str):
    """The name of a sight, of which verdicts say that photos were not taken there."""

    __slots__ = ()


# What a verdict is about: a landmark, by its id, a thing, by its slug, or a sight.
Subject = int | str | SightName
VERDICT_TABLES: Mapping[type[Subject], Table] = {
    int: verdicts,
    str: thing_verdicts,
    SightName: sight_verdicts,
}


@dataclass(frozen=True)
class NewVerdict:
    """Its image and its subject have rows."""

    content_id: int
    subject: Subject
    verdict: VerdictKind
    given_by: str | None
    given_at: datetime

    @property
    def key(self) -> tuple[int, Subject]:
        return self.content_id, self.subject


@dataclass(frozen=True)
class NewDismissal:
    """Its image has a row."""

    content_id: int
    given_by: str | None
    given_at: datetime


def write_verdicts(
    connection: Connection, new: Iterable[NewVerdict], *, newer_only: bool = False
) -> None:
    """Write verdicts over stored ones; with `newer_only`, not over those of the same time or later.

    An image with a confirmed landmark is no longer put away as not a landmark.
    """
    latest = {each.key: each for each in sorted(new, key=attrgetter("given_at"))}
    if not latest:
        return
    lock_contents(connection, {content_id for content_id, _ in latest})
    images_of: dict[type[Subject], set[int]] = {}
    for kind, table in VERDICT_TABLES.items():
        of_kind = [each for each in latest.values() if type(each.subject) is kind]
        _upsert(
            connection,
            table,
            sorted(of_kind, key=attrgetter("key")),
            newer_only=newer_only,
        )
        images_of[kind] = {each.content_id for each in of_kind}
    if images_of[SightName]:
        _locate_decided(connection, images_of[SightName])
    # No landmark depends on a thing, or on a sight.
    if images := images_of[int]:
        confirmed = sorted(confirmed_contents(connection, images))
        connection.execute(
            delete(dismissals).where(dismissals.c.content_id.in_(confirmed))
        )
        _settle_decided(connection, images)


def delete_verdicts(
    connection: Connection,
    content_ids: Collection[int],
    subject: Subject,
    kind: VerdictKind,
) -> int:
    """Those of `kind`; returns how many."""
    lock_contents(connection, content_ids)
    table, is_about_it = verdicts_about(subject)
    of_images = among(table.c.content_id, content_ids), table.c.verdict == kind
    count = connection.execute(delete(table).where(*of_images, is_about_it)).rowcount
    if table is verdicts:
        _settle_decided(connection, content_ids)
    elif table is sight_verdicts:
        _locate_decided(connection, content_ids)
    return count


def verdicts_about(subject: Subject) -> tuple[Table, ColumnElement[bool]]:
    table = VERDICT_TABLES[type(subject)]
    _, key = table.primary_key
    return table, key == subject


def write_dismissals(connection: Connection, new: Iterable[NewDismissal]) -> None:
    """Write dismissals over older ones, except for images on which a landmark is confirmed."""
    latest = {each.content_id: each for each in sorted(new, key=attrgetter("given_at"))}
    written = sorted(latest.keys() - confirmed_contents(connection, latest))
    if written:
        lock_contents(connection, written)
        _upsert(
            connection,
            dismissals,
            [latest[each] for each in written],
            newer_only=True,
        )
        _settle_decided(connection, written)


def delete_dismissals(connection: Connection, content_ids: Sequence[int]) -> int:
    """Returns how many had one."""
    lock_contents(connection, content_ids)
    count = connection.execute(
        delete(dismissals).where(dismissals.c.content_id.in_(content_ids))
    ).rowcount
    _settle_decided(connection, content_ids)
    return count


def confirmed_contents(
    connection: Connection, content_ids: Collection[int]
) -> set[int]:
    confirmed = select(verdicts.c.content_id).where(
        verdicts.c.content_id.in_(content_ids), verdicts.c.verdict == "confirmed"
    )
    return set(connection.scalars(confirmed))


def _upsert(
    connection: Connection,
    table: Table,
    new: Sequence[NewVerdict | NewDismissal],
    *,
    newer_only: bool,
) -> None:
    # Write rows over those with the same keys, in the order of their keys, which prevents deadlocks.
    if not new:
        return
    statement = upsert(connection, table)
    values = {
        column.name: statement.excluded[column.name]
        for column in table.c
        if not column.primary_key
    }
    is_older = table.c.given_at < statement.excluded.given_at if newer_only else None
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_=values, where=is_older
        ),
        [dict(zip(table.c.keys(), vars(each).values(), strict=True)) for each in new],
    )


def _settle_decided(connection: Connection, content_ids: Collection[int]) -> None:
    _locate_decided(connection, content_ids)
    settle(connection, content_ids)


def _locate_decided(connection: Connection, content_ids: Collection[int]) -> None:
    record_decisions(connection)
    queue_position_updates(connection, content_ids)


def hold_landmarks(connection: Connection) -> None:
    """Keep landmarks until the transaction ends: merges and removals wait for it, and it waits for theirs.

    The lock is the one that writing a verdict takes anyway, taken before landmarks are looked up. Lock images
    before that: merges do so.
    """
    lock_tables(connection, verdicts, mode="ROW EXCLUSIVE")


def lock_images_of(connection: Connection, *landmark_ids: int) -> set[int]:
    """Lock all images of these landmarks, and make writers of tags and verdicts wait. Returns their ids."""
    of_landmarks = union(
        *(
            select(table.c.content_id).where(table.c.landmark_id.in_(landmark_ids))
            for table in (tags, taught_tags, verdicts)
        )
    )
    while True:
        images = set(connection.scalars(of_landmarks))
        # Those writers lock an image first, too. An image that got a landmark meanwhile must not be waited
        # for: all locks are taken again.
        with connection.begin_nested() as locks:
            lock_contents(connection, images)
            lock_tables(connection, tags, verdicts)
            if images.issuperset(connection.scalars(of_landmarks)):
                return images
            locks.rollback()


def move_to_landmark(
    connection: Connection, images: Collection[int], landmark_id: int, target_id: int
) -> dict[str, int]:
    """Give verdicts and tags of a landmark to another one, on images that `lock_images_of` has locked.

    Of two verdicts on an image the newer one stays, of two tags by a model the better one. What was taught
    of the landmark goes. Returns how many `verdicts` and `tags` the landmark had.
    """
    other_verdicts = verdicts.alias()
    same_image = other_verdicts.c.content_id == verdicts.c.content_id
    is_older = exists().where(
        same_image,
        other_verdicts.c.landmark_id == landmark_id,
        other_verdicts.c.given_at > verdicts.c.given_at,
    )
    connection.execute(
        delete(verdicts).where(verdicts.c.landmark_id == target_id, is_older)
    )
    has_newer = exists().where(same_image, other_verdicts.c.landmark_id == target_id)
    older = connection.execute(
        delete(verdicts).where(verdicts.c.landmark_id == landmark_id, has_newer)
    )
    moved = connection.execute(
        update(verdicts)
        .where(verdicts.c.landmark_id == landmark_id)
        .values(landmark_id=target_id)
    )

    # Of two tags by a model, the better one stays.
    other, both = tags.alias(), [landmark_id, target_id]
    is_moved = tags.c.landmark_id == landmark_id
    tag_count = connection.scalar(select(func.count()).where(is_moved)) or 0
    has_better = exists().where(
        other.c.content_id == tags.c.content_id,
        other.c.model_id == tags.c.model_id,
        other.c.landmark_id.in_(both),
        other.c.rank < tags.c.rank,
    )
    connection.execute(delete(tags).where(tags.c.landmark_id.in_(both), has_better))
    connection.execute(update(tags).where(is_moved).values(landmark_id=target_id))
    connection.execute(
        delete(taught_tags).where(taught_tags.c.landmark_id == landmark_id)
    )
    _settle_decided(connection, images)
    return {"verdicts": older.rowcount + moved.rowcount, "tags": tag_count}


def delete_of_landmark(
    connection: Connection, images: Collection[int], landmark_id: int
) -> None:
    """On images that `lock_images_of` has locked."""
    for table in (tags, taught_tags, verdicts):
        connection.execute(delete(table).where(table.c.landmark_id == landmark_id))
    _settle_decided(connection, images)
