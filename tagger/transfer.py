"""Copies a database into an empty one, upgrades one, and checks the integrity of one.

A copy, also between SQLite and PostgreSQL, is one transaction. An upgrade changes the schema, then what this
version derives from the rows of an earlier one. The check is of the file, whether rows can be read, and what
they say of each other.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Row,
    Select,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from tagger.database import JobState, Outcome
from tagger.database.changed_days import ChangedDay, record_days
from tagger.database.connection import Database, open_database
from tagger.database.diagnostics import stored_rows
from tagger.database.engine import may_only_read, reason_of
from tagger.database.schema import (
    SCHEMA_REVISION,
    bulk_load,
    read_revision,
    upgrade_schema,
)
from tagger.database.statements import among, distinct_values, insert_page, pages
from tagger.database.tables import (
    chunks,
    classifications,
    classifiers,
    contents,
    embeddings,
    image_things,
    job_items,
    jobs,
    landmarks,
    ledgers,
    metadata,
    model_labels,
    models,
    photos,
    sketches,
    taught_tags,
    thing_labels,
    workers,
)
from tagger.errors import Conflict, SchemaOutdated
from tagger.kept.update import kept_problems, update_kept
from tagger.ledger import OVER, follow_images, items_to_replace
from tagger.model.artifact import Manifest
from tagger.tags import is_classified_by
from tagger.tags.models_in_use import THINGS
from tagger.tags.settlement import settle_after_upgrade, unsettled
from tagger.teaching.classifiers import classifier_bytes, embedding_bytes
from tagger.things import things_of_labels

# The tables to copy, each after those that its foreign keys refer to. Workers belong to their database;
# sketches are computed.
TABLES = [table for table in metadata.sorted_tables if table not in {workers, sketches}]


def copy_database(
    source: Database,
    url: str,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, int]:
    """Copy every row into the empty database at `url`, with a ledger id of its own; returns the numbers.

    `progress` gets the number of rows done, and of all rows.

    Raises:
        Conflict: there are rows at `url`, or not all rows arrived. Nothing is stored.
    """
    upgrade_schema(url)
    with (
        closing(open_database(url)) as target,
        source.snapshot() as old,
        target.write() as new,
    ):
        present = _counts(new) | {ledgers.name: 0}
        if any(present.values()):
            rows_text = row_counts_text(present)
            text_ = f"The database {target.redacted_url} is not empty: it contains {rows_text}."
            raise Conflict(reason=f"{text_} Name a new database.")
        new.execute(delete(ledgers))
        counts = _counts(old)
        done = 0
        with bulk_load(new):
            for table in TABLES:
                for query in _selects(table):
                    for rows in pages(stored_rows(old, table, query)):
                        _insert(new, table, rows)
                        done += len(rows)
                        progress(done, sum(counts.values()))
        new.execute(update(ledgers).values(ledger_id=target.ledger_id))
        for name, found in _counts(new).items():
            if found != counts[name]:
                text_ = f"Of {counts[name]} rows of {name}, {found} arrived, so nothing was stored."
                raise Conflict(reason=f"{text_} Run `tagger db check`, and copy again.")
        if not target.is_sqlite:
            _continue_sequences(new)
    return counts


def row_counts_text(counts: Mapping[str, int]) -> str:
    """The tables that have rows, in words: `1 root, 2 job items`."""
    nouns = (
        (count, name.replace("_", " ").removesuffix("s"))
        for name, count in counts.items()
        if count
    )
    return ", ".join(
        f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in nouns
    )


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in TABLES
    }


def _selects(table: Table) -> Iterator[Select[Any]]:
    # The queries that read the table: rows that refer to others of the same table come after these.
    query = select(*(column for column in table.columns if column.computed is None))
    own = [key for key in table.foreign_keys if key.column.table is table]
    if not own:
        yield query
        return
    refers_to_none = and_(
        *(or_(key.parent.is_(None), key.parent == key.column) for key in own)
    )
    yield query.where(refers_to_none)
    yield query.where(~refers_to_none)


def _insert(connection: Connection, table: Table, rows: Sequence[Row[Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(table.insert(), [row._asdict() for row in rows])
        return
    names = list(rows[0]._fields)
    documents = {
        at for at, name in enumerate(names) if isinstance(table.c[name].type, JSON)
    }
    values = (
        [
            json.dumps(value) if at in documents and value is not None else value
            for at, value in enumerate(row)
        ]
        for row in rows
    )
    insert_page(connection, table, names, values)


def _continue_sequences(connection: Connection) -> None:
    # Let PostgreSQL's sequences continue after the copied ids, as SQLite does by itself.
    for table in TABLES:
        column = table.autoincrement_column
        if column is not None and (
            largest := connection.scalar(select(func.max(column)))
        ):
            names = {"table": table.name, "column": column.name}
            sequence = connection.scalar(
                text("SELECT pg_get_serial_sequence(:table, :column)"), names
            )
            if table is jobs:
                removed = connection.scalar(select(ledgers.c.last_removed_job)) or 0
                largest = max(largest, removed)
            if sequence:
                connection.execute(
                    text("SELECT setval(:name, :last)"),
                    {"name": sequence, "last": largest},
                )
    # Without statistics, the server would plan badly until it gathers them itself.
    connection.execute(text("ANALYZE"))


def upgrade_database(
    url: str, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> str:
    """Upgrade the database at `url`. Returns the previous revision of its schema ("" for an empty database).

    If it is interrupted, the next one continues. `on_progress` gets the number of images done, and of all.

    Raises:
        DatabaseUnavailable: the database does not answer or cannot be opened.
        Unavailable: another transaction does not end.
    """
    before = upgrade_schema(url)
    with closing(open_database(url, is_upgrade=True)) as database:
        settle_after_upgrade(database, on_progress)
        update_kept(database)
    return before


def is_upgraded(url: str) -> bool:
    """Whether the database at `url` has this version's schema, and no upgrade was interrupted after that."""
    if read_revision(url) != SCHEMA_REVISION:
        return False
    try:
        open_database(url).close()
    except SchemaOutdated:
        return False
    return True


# The limit per kind of problem.
PROBLEMS_SHOWN = 100
NOT_CHECKED = "because of these problems, the counts of jobs and photos, outcomes and labels were not checked"


@dataclass
class Repairs:
    """What a check can repair: days that are computed again, and jobs whose photos have earlier outcomes."""

    days: set[ChangedDay] = field(default_factory=set)
    job_ids: set[int] = field(default_factory=set)


def check_database(database: Database) -> Iterator[str]:
    """Yield a line per problem: a damaged file, invalid values, missing rows, counts that do not match.

    Days of which something wrong is kept are recorded as changed, and outcomes of photos are taken again.
    """
    repairs = Repairs()
    with database.snapshot() as connection:
        yield from connection_problems(connection, repairs)
    if repairs.days or repairs.job_ids:
        try:
            with database.write() as connection:
                record_days(connection, sorted(repairs.days))
                follow_images(connection, among(job_items.c.job_id, repairs.job_ids))
        except SQLAlchemyError as error:
            if not may_only_read(error):
                raise
            yield f"these days and jobs were not repaired: {reason_of(error)}"


def connection_problems(
    connection: Connection, repairs: Repairs | None = None
) -> Iterator[str]:
    """The problems that the connection's transaction sees; adds to `repairs`."""
    are_valid = True
    if connection.dialect.name == "sqlite":
        for problem in _file_problems(connection):
            are_valid = False
            yield problem
        if are_valid:  # a damaged file cannot be searched for them
            # PostgreSQL always enforces foreign keys, SQLite only in programs that enable them.
            missing = connection.execute(text("PRAGMA foreign_key_check"))
            for row in missing.fetchmany(PROBLEMS_SHOWN):
                yield f"a row of {row[0]} refers to a missing row of {row[2]} (row {row[1]})"
    # SQLite stores any value in any column, and the driver fails to read a time or a document.
    for table in metadata.sorted_tables:
        try:
            for _row in stored_rows(connection, table, select(table)):
                pass
        except (SQLAlchemyError, ValueError, TypeError) as error:
            are_valid = False
            text_ = str(error).splitlines()[0]
            yield f"{table.name}: a row cannot be read: {text_}"
    if are_valid:
        yield from cross_problems(connection, repairs or Repairs())
    else:
        yield NOT_CHECKED


def _file_problems(connection: Connection) -> Iterator[str]:
    try:
        for line in connection.scalars(
            text(f"PRAGMA integrity_check({PROBLEMS_SHOWN})")
        ):
            if line != "ok":
                yield f"the file is damaged: {line}"
    except OperationalError:  # it is locked, or cannot be read now
        raise
    except DatabaseError as error:  # SQLite could not go on after the lines before
        yield f"the file is damaged: {error.orig}"


def cross_problems(connection: Connection, repairs: Repairs) -> Iterator[str]:
    """Yield a line per problem with what rows say about each other; add to `repairs`."""
    of_images = *_taught_problems(), *_content_problems(), *_thing_problems()
    yield from found_problems(connection, *job_problems(), *of_images)
    for content_id in islice(unsettled(connection), PROBLEMS_SHOWN):
        digest = connection.scalar(
            select(contents.c.digest).where(contents.c.id == content_id)
        )
        yield f"image {digest}: its effective tags or its outcome do not follow from its tags and verdicts"
    # Items of jobs that are over follow their images.
    is_over = job_items.c.job_id.in_(select(jobs.c.id).where(jobs.c.state.in_(OVER)))
    for row in connection.execute(items_to_replace(is_over).limit(PROBLEMS_SHOWN)):
        repairs.job_ids.add(row.job_id)
        item = f"job {row.job_id}, item {row.position}"
        yield f"{item}: its outcome is {row.outcome}, and that of its image {row.now}"
    for number, (problem, days) in enumerate(kept_problems(connection)):
        repairs.days |= days
        if number < PROBLEMS_SHOWN:
            yield problem
    yield from _model_problems(connection)
    # Each slug, also one of a merged landmark, names one landmark.
    slugs = connection.execute(select(landmarks.c.slug, landmarks.c.merged_slugs))
    counts = Counter(slug for row in slugs for slug in (row.slug, *row.merged_slugs))
    for slug, count in counts.items():
        if count > 1:
            yield f"landmark {slug}: several landmarks have this slug"


# What is wrong with the rows of a query, whose columns fill the braces.
Problem = tuple[str, Select[Any]]


def found_problems(connection: Connection, *problems: Problem) -> Iterator[str]:
    for problem, query in problems:
        for row in connection.execute(query.limit(PROBLEMS_SHOWN)).all():
            yield problem.format(*row)


def job_problems() -> Iterator[Problem]:
    yield "job {}, chunk {}: its counts do not match its items", _wrong_chunks()
    # A scanned job's total must be the number of its items, and its chunks must cover them.
    items = (
        select(func.count()).where(job_items.c.job_id == jobs.c.id).scalar_subquery()
    )
    covered = (
        select(func.coalesce(func.sum(chunks.c.last - chunks.c.first + 1), 0))
        .where(chunks.c.job_id == jobs.c.id)
        .scalar_subquery()
    )
    unfinished = exists().where(chunks.c.job_id == jobs.c.id, chunks.c.done != true())
    wrong = or_(
        jobs.c.total != items + jobs.c.items_removed,
        jobs.c.total != covered,
        and_(jobs.c.state.in_(OVER), unfinished),
    )
    scanned = (
        select(jobs.c.id)
        .where(jobs.c.state != JobState.SCANNING, wrong)
        .order_by(jobs.c.id)
    )
    yield "job {}: its total or state does not match its chunks", scanned
    # PostgreSQL does not check that each item is of a job.
    numbers = distinct_values(job_items.c.job_id).subquery()
    unknown = ~exists().where(jobs.c.id == numbers.c.value)
    of_no_job = select(numbers.c.value).where(unknown).order_by(numbers.c.value)
    yield "job {}: there are photos of it, but no such job", of_no_job


def _wrong_chunks() -> Select[Any]:
    # Chunks whose counts are not those of their items, unless these were cancelled or removed.
    counted = [outcome.value for outcome in Outcome if outcome is not Outcome.CANCELLED]
    sums = [
        func.coalesce(
            func.sum(case((job_items.c.outcome == outcome, 1), else_=0)), 0
        ).label(f"has_{outcome}")
        for outcome in counted
    ]
    in_chunk = and_(
        job_items.c.job_id == chunks.c.job_id,
        job_items.c.position.between(chunks.c.first, chunks.c.last),
    )
    totals = (
        select(chunks, func.count(job_items.c.position).label("item_count"), *sums)
        .select_from(
            chunks.join(jobs, jobs.c.id == chunks.c.job_id).outerjoin(
                job_items, in_chunk
            )
        )
        .where(chunks.c.first >= jobs.c.items_removed)
        .group_by(chunks.c.job_id, chunks.c.chunk)
        .subquery()
    )
    summed = sum((totals.c[outcome.value] for outcome in Outcome), literal(0))
    size = totals.c.last - totals.c.first + 1
    wrong = or_(
        totals.c.item_count != size,
        *(totals.c[outcome] != totals.c[f"has_{outcome}"] for outcome in counted),
        and_(totals.c.done == true(), summed != size),
    )
    return select(totals.c.job_id, totals.c.chunk).where(wrong)


def _content_problems() -> Iterator[Problem]:
    # A RAW file that is one photo with its JPEG has no image, and its JPEG is a photo of the same root.
    primary = photos.alias("primary")
    is_photo = primary.c.primary_id.is_(None) & (primary.c.root_id == photos.c.root_id)
    joined = (
        select(photos.c.id)
        .join(primary, primary.c.id == photos.c.primary_id)
        .where(~is_photo | photos.c.content_id.is_not(None))
        .order_by(photos.c.id)
    )
    yield (
        "photo {}: it is joined with a file that cannot stand for it, or has an image of its own",
        joined,
    )
    # Otherwise, a file would neither be listed as waiting nor as classified.
    is_classified = exists().where(
        contents.c.id == photos.c.content_id, contents.c.outcome.is_not(None)
    )
    unread = select(photos.c.id).where(
        photos.c.classified_mtime_ns.is_not(None), ~is_classified
    )
    yield (
        "photo {}: its file counts as classified, and its image is not",
        unread.order_by(photos.c.id),
    )


def _thing_problems() -> Iterator[Problem]:
    is_classified = exists().where(
        classifications.c.content_id == image_things.c.content_id,
        classifications.c.model_id == image_things.c.model_id,
    )
    has_label = exists().where(
        thing_labels.c.model_id == image_things.c.model_id,
        thing_labels.c.thing == image_things.c.thing,
    )
    found = (
        select(contents.c.digest, image_things.c.thing, models.c.name)
        .join(contents, contents.c.id == image_things.c.content_id)
        .join(models, models.c.id == image_things.c.model_id)
        .order_by(image_things.c.content_id)
    )
    yield (
        "image {}: {} is of the model {}, which did not classify it",
        found.where(~is_classified),
    )
    yield (
        "image {}: {} is of the model {}, which does not name it",
        found.where(~has_label),
    )


def _taught_problems() -> Iterator[Problem]:
    is_classified = exists().where(
        contents.c.id == embeddings.c.content_id,
        is_classified_by(embeddings.c.model_id),
    )
    foreign = select(embeddings.c.content_id).where(~is_classified)
    has_embedding = exists().where(
        embeddings.c.content_id == taught_tags.c.content_id,
        embeddings.c.model_id == taught_tags.c.model_id,
    )
    has_classifier = exists().where(
        classifiers.c.landmark_id == taught_tags.c.landmark_id,
        classifiers.c.model_id == taught_tags.c.model_id,
    )
    unfounded = (
        select(taught_tags.c.content_id)
        .where(~(has_embedding & has_classifier))
        .distinct()
    )
    for ids, problem in (
        (foreign, "its embedding is not of a model that classified it"),
        (
            unfounded,
            "it has a taught tag without an embedding or without what was learned",
        ),
    ):
        digests = (
            select(contents.c.digest)
            .where(contents.c.id.in_(ids))
            .order_by(contents.c.id)
        )
        yield f"image {{}}: {problem}", digests
    for table, version in (
        (embeddings, embeddings.c.taught_version),
        (classifiers, classifiers.c.version),
    ):
        later = exists().where(
            table.c.model_id == models.c.id, version > models.c.taught_version
        )
        problem = (
            f"model {{}}: its {table.name} are of a later version than what was taught"
        )
        yield problem, select(models.c.name).where(later).order_by(models.c.name)


def _model_problems(connection: Connection) -> Iterator[str]:
    # Check that a model's labels are those of its manifest, and the dimension of its embeddings.
    for model in connection.execute(
        select(models.c.id, models.c.name, models.c.manifest)
    ).all():
        try:
            manifest = Manifest.model_validate(model.manifest)
        except ValueError:
            yield f"model {model.name}: its manifest cannot be used"
            continue
        if not _has_its_labels(connection, model.id, manifest):
            yield f"model {model.name}: its labels are not those of its manifest"
        dimension = None if manifest.embedding is None else manifest.embedding.dimension
        for table, size in (
            (embeddings, embedding_bytes),
            (classifiers, classifier_bytes),
        ):
            expected, length = (
                0 if dimension is None else size(dimension),
                func.length(table.c.data),
            )
            has_columns = table is classifiers and expected
            rest = length % expected if has_columns else length - expected
            wrong = exists().where(
                table.c.model_id == model.id, or_(length == 0, rest != 0)
            )
            if connection.scalar(select(wrong)):
                yield f"model {model.name}: its {table.name} have another dimension than it has"


def _has_its_labels(connection: Connection, model_id: int, manifest: Manifest) -> bool:
    if manifest.kind == THINGS:
        stored_things = things_of_labels(connection, [model_id]).get(model_id, {})
        return stored_things == dict(enumerate(label.slug for label in manifest.labels))
    labels = (
        select(
            model_labels.c.position,
            model_labels.c.label,
            landmarks.c.slug,
            landmarks.c.merged_slugs,
        )
        .join(landmarks, landmarks.c.id == model_labels.c.landmark_id)
        .order_by(model_labels.c.position)
    )
    stored = connection.execute(labels.where(model_labels.c.model_id == model_id)).all()
    return len(stored) == len(manifest.labels) and all(
        (row.position, row.label) == (position, label.label)
        and label.slug in (row.slug, *row.merged_slugs)
        for position, (row, label) in enumerate(
            zip(stored, manifest.labels, strict=True)
        )
    )
