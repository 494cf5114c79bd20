"""Stores what the rule says of images: reads the causes, and replaces the `effective_tags` that differ."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    delete,
    func,
    null,
    select,
    true,
    union_all,
    update,
)

from tagger.database import OddsReason, Outcome, VerdictKind
from tagger.database.connection import Database
from tagger.database.statements import (
    IDS,
    among,
    insert_page,
    lock_tables,
    row_pages,
)
from tagger.database.tables import (
    classifications,
    contents,
    dismissals,
    effective_tags,
    ledgers,
    models,
    tags,
    taught_tags,
    verdicts,
)
from tagger.ledger import follow_images
from tagger.model import SUGGESTED_SCORE, TAUGHT_THRESHOLD
from tagger.tags import lock_contents, queue_position_updates
from tagger.tags.models_in_use import LANDMARKS, ids_in_use
from tagger.tags.rule import (
    Candidate,
    EffectiveTag,
    ImageFacts,
    PositionOdds,
    best_predictions,
    decide,
)

# Images whose causes are in memory at the same time.
PAGE = 1000

_NAMES = tuple(
    column.name for column in effective_tags.columns if column.computed is None
)

# The values of `_NAMES`: the ids of the content and the landmark, and the others.
_Row = tuple[Any, ...]
_KEY = itemgetter(0, 1)


# The effective tags of images, by content id.
EffectiveTags = dict[int, Sequence[EffectiveTag]]


def settle(
    connection: Connection, content_ids: Collection[int], *, record: bool = True
) -> EffectiveTags:
    """Bring the effective tags and the outcomes of these images up to date; returns the tags by content id.

    Images whose tags change are recorded for the next update of positions; not without `record`.
    """
    settled: EffectiveTags = {}
    ids = sorted(set(content_ids))
    lock_contents(connection, ids)
    # Whoever puts other models in use waits until this transaction ends, and settles these images after it.
    lock_tables(connection, models, mode="ROW SHARE")
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        causes = read_causes(connection, page)
        tags_of = {
            content_id: each.effective_tags() for content_id, each in causes.items()
        }

        # Which predictions count.
        images = defaultdict[tuple[int, int, bool], list[int]](list)
        for content_id, each in causes.items():
            for wrong in each.wrong_counts():
                images[wrong].append(content_id)
        for (model_id, rank, counts), of_images in images.items():
            connection.execute(
                update(tags)
                .where(among(tags.c.content_id, of_images))
                .where(tags.c.model_id == model_id, tags.c.rank == rank)
                .values(counts=counts)
            )

        # The effective tags of images with rows that differ.
        stored: set[_Row] = {
            tuple(row) for row in connection.execute(_STORED, {"ids": page})
        }
        rows = {
            _row(content_id, tag)
            for content_id, of_image in tags_of.items()
            for tag in of_image
        }
        changed = {row[0] for row in stored ^ rows}
        if replaced := {row[0] for row in stored} & changed:
            connection.execute(
                delete(effective_tags).where(
                    among(effective_tags.c.content_id, replaced)
                )
            )
        new = sorted((row for row in rows if row[0] in changed), key=_KEY)
        insert_page(connection, effective_tags, _NAMES, new)
        if record:
            queue_position_updates(connection, changed)

        # The outcomes of images that a model has classified, and of items of jobs.
        images_with = defaultdict[Outcome, list[int]](list)
        for content_id, each in causes.items():
            outcome = outcome_of(tags_of[content_id])
            if each.outcome not in (None, outcome):
                images_with[outcome].append(content_id)
        for outcome, of_images in images_with.items():
            is_image = among(contents.c.id, of_images)
            connection.execute(update(contents).where(is_image).values(outcome=outcome))
            follow_images(connection, is_image)
        settled |= tags_of
    return settled


# Called with the numbers of images that are settled, and of all.
Progress = Callable[[int, int], None]


def settle_after_upgrade(
    database: Database, on_progress: Progress = lambda _done, _total: None
) -> None:
    """Settle the images of an earlier version, in transactions of a page: an interrupted one is continued.

    Items of jobs that are over did not follow their images in all versions.
    """

    def settle_page(connection: Connection, page: Sequence[int]) -> None:
        settle(connection, page)
        follow_images(connection, among(contents.c.id, page))

    _settle_pages(
        database,
        ledgers.c.settled_to,
        contents.c.id,
        settle_page,
        on_progress,
    )


def settle_models(
    database: Database, on_progress: Progress = lambda _done, _total: None
) -> None:
    """Settle the images after other models were put in use, like `settle_after_upgrade`.

    The tags of an image that a single model has classified count in any case.
    """
    _settle_pages(
        database,
        ledgers.c.models_settled_to,
        classifications.c.content_id,
        settle,
        on_progress,
    )


def is_settled(database: Database) -> bool:
    """False after `settle_models` was interrupted."""
    return database.scalar(select(ledgers.c.models_settled_to)) is None


def _settle_pages(
    database: Database,
    settled_to: Column[int],
    content_ids: Column[int],
    settle_page: Callable[[Connection, Sequence[int]], object],
    on_progress: Progress,
) -> None:
    # Settle these images after `settled_to`, and name the last of each page there; None: all are settled.
    with database.read() as connection:
        if connection.scalar(select(settled_to)) is None:
            return
        total = connection.scalar(select(func.count(content_ids.distinct()))) or 0
    done = 0
    while True:
        with database.write() as connection:
            last = connection.execute(select(settled_to).with_for_update()).scalar_one()
            page: Sequence[int] = []
            if last is not None:
                following = (
                    select(content_ids)
                    .where(content_ids > last)
                    .distinct()
                    .order_by(content_ids)
                )
                page = connection.scalars(following.limit(PAGE)).all()
            settle_page(connection, page)
            connection.execute(
                update(ledgers).values({settled_to: page[-1] if page else None})
            )
        if not page:
            return
        done = min(done + len(page), total)
        on_progress(done, total)


def unsettled(connection: Connection) -> Iterator[int]:
    every = select(contents.c.id)
    for rows in row_pages(
        lambda page: connection.execute(page).all(),
        every,
        [contents.c.id],
        PAGE,
    ):
        page = [row.id for row in rows]
        causes = read_causes(connection, page)
        stored: dict[int, set[_Row]] = {content_id: set() for content_id in page}
        for row in connection.execute(_STORED, {"ids": page}):
            stored[row[0]].add(tuple(row))
        for content_id, each in causes.items():
            tags_of_image = each.effective_tags()
            right = {_row(content_id, tag) for tag in tags_of_image}
            if (
                any(each.wrong_counts())
                or right != stored[content_id]
                or each.outcome not in (None, outcome_of(tags_of_image))
            ):
                yield content_id


def outcome_of(tags_of_image: Sequence[EffectiveTag]) -> Outcome:
    return (
        Outcome.TAGGED
        if any(tag.is_accepted for tag in tags_of_image)
        else Outcome.UNKNOWN
    )


@dataclass
class Causes:
    """All that the rule needs of an image. `outcome`: the stored one; None: no model has classified it.

    `thresholds`: of the models that have classified it, by their ids, the last one first. `counts`: what is
    stored of each prediction, by its model and rank.
    """

    outcome: Outcome | None
    image: ImageFacts
    thresholds: dict[int, float] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    counts: dict[tuple[int, int], bool] = field(default_factory=dict)
    verdicts: dict[int, VerdictKind] = field(default_factory=dict)

    def models(self, in_use: Sequence[Sequence[int]]) -> Sequence[int]:
        """The models whose tags count: those in use that have classified it; without one, the last of all.

        `in_use`: as of `ids_in_use`.
        """
        first_of_each = (
            [key for key in each if key in self.thresholds][:1] for each in in_use
        )
        return [*chain.from_iterable(first_of_each)] or list(self.thresholds)[:1]

    def wrong_counts(self) -> Iterator[tuple[int, int, bool]]:
        """The model and rank of each prediction of which the wrong thing is stored, and what is right."""
        best = {
            (each.model_id, each.rank)
            for each in best_predictions(self.candidates).values()
        }
        for key, counts in self.counts.items():
            if counts is not (key in best):
                yield *key, not counts

    def effective_tags(self) -> Sequence[EffectiveTag]:
        return decide(self.candidates, self.verdicts, self.image)


def read_causes(
    connection: Connection, content_ids: Collection[int]
) -> Mapping[int, Causes]:
    ids = {"ids": list(content_ids)}
    causes = {}
    for row in connection.execute(_IMAGES, ids):
        causes[row.id] = Causes(
            row.outcome and Outcome(row.outcome),
            ImageFacts(row.damaged, row.dismissed),
            {} if row.model_id is None else {row.model_id: row.threshold},
        )
    for content_id, model_id, threshold in connection.execute(_CLASSIFICATIONS, ids):
        causes[content_id].thresholds.setdefault(model_id, threshold)
    in_use = ids_in_use(connection, [LANDMARKS])
    suggested_from = {
        row.id: row.suggestion_threshold
        for row in connection.execute(_SUGGESTION_THRESHOLDS)
    }
    orders = {
        key: {model: order for order, model in enumerate(each.models(in_use))}
        for key, each in causes.items()
    }
    for (
        content_id,
        model_id,
        rank,
        counts,
        score,
        *odds,
        landmark_id,
        is_enough,
    ) in connection.execute(_CANDIDATES, ids).all():
        cause, order = causes[content_id], orders[content_id].get(model_id)
        if rank is not None:
            cause.counts[model_id, rank] = bool(counts)
        if order is not None:
            is_taught = rank is None
            candidate = Candidate(
                landmark_id,
                score,
                bool(is_enough),
                TAUGHT_THRESHOLD if is_taught else cause.thresholds[model_id],
                model_id,
                rank,
                stored_odds(*odds),
                order,
                SUGGESTED_SCORE if is_taught else suggested_from[model_id],
            )
            cause.candidates.append(candidate)
    for content_id, landmark_id, verdict in connection.execute(_VERDICTS, ids):
        causes[content_id].verdicts[landmark_id] = VerdictKind(verdict)
    return causes


def score_is_enough(table: Table) -> ColumnElement[bool]:
    return (
        tags.c.enough == true()
        if table is tags
        else taught_tags.c.score >= TAUGHT_THRESHOLD
    )


def _of_images(column: ColumnElement[int]) -> ColumnElement[bool]:
    return among(column, IDS)


# Built once: they run for each batch of photos, and to build them takes longer than to run them.
_IMAGES = (
    select(
        *(contents.c[name] for name in ("id", "outcome", "model_id", "threshold")),
        *(
            contents.c[each.name]
            for each in fields(ImageFacts)
            if each.name in contents.c
        ),
        dismissals.c.content_id.is_not(None).label("dismissed"),
    )
    .outerjoin(dismissals, dismissals.c.content_id == contents.c.id)
    .where(_of_images(contents.c.id))
    .order_by(contents.c.id)
)
_CLASSIFICATIONS = select(
    classifications.c.content_id,
    classifications.c.model_id,
    classifications.c.threshold,
).where(_of_images(classifications.c.content_id))
_VERDICTS = select(
    verdicts.c.content_id,
    verdicts.c.landmark_id,
    verdicts.c.verdict,
).where(_of_images(verdicts.c.content_id))
_SUGGESTION_THRESHOLDS = select(models.c.id, models.c.suggestion_threshold)
_STORED = select(*(effective_tags.c[name] for name in _NAMES)).where(
    _of_images(effective_tags.c.content_id)
)


def _select_candidates(
    table: Table, rank: ColumnElement[Any], counts: ColumnElement[Any]
) -> Select[Any]:
    odds = (table.c[name] for name in ("position_odds", "distance_m", "odds_reason"))
    columns = (
        table.c.content_id,
        table.c.model_id,
        rank,
        counts,
        table.c.score,
        *odds,
        table.c.landmark_id,
    )
    return select(*columns, score_is_enough(table)).where(
        _of_images(table.c.content_id)
    )


_CANDIDATES = union_all(
    _select_candidates(tags, tags.c.rank, tags.c.counts),
    _select_candidates(taught_tags, null(), true()),
)


def stored_odds(
    odds: float | None, distance_m: float | None, reason: str | None
) -> PositionOdds | None:
    """The odds that a row of `tags` or `taught_tags` has; None: its position turns nothing."""
    if odds is None or reason is None or reason == OddsReason.LIBRARY:
        return None
    return PositionOdds(odds, distance_m, OddsReason(reason))


def _row(content_id: int, tag: EffectiveTag) -> _Row:
    best = tag.candidate
    odds = best and best.odds
    return (
        content_id,
        tag.landmark_id,
        str(tag.state),
        tag.reason and str(tag.reason),
        best and best.score,
        tag.source,
        tag.rank,
        best and best.model_id,
        odds and odds.odds,
        odds and odds.distance_m,
    )
