"""Things: what else images show, such as a dog, snow or a kitchen; found by name, and on images.

A model of things names them; people confirm and reject them. They are no landmarks: no place, trip or
suggestion follows from them, and photos without a landmark stay so. `causes` writes what images show.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    distinct,
    exists,
    func,
    literal,
    select,
    true,
    union_all,
    update,
)

from tagger.database import VerdictKind
from tagger.database.connection import Database, display_language
from tagger.database.statements import among, insert_missing, insert_page
from tagger.database.tables import (
    contents,
    image_things,
    job_items,
    models,
    photos,
    thing_labels,
    thing_verdicts,
    things,
)
from tagger.errors import ThingNotFound
from tagger.texts.names import name_in_language
from tagger.texts.text_format import reader_language

if TYPE_CHECKING:
    from tagger.model.artifact import Label


@dataclass(frozen=True)
class Thing:
    """A thing. `names` are by language tag. `parent`: the slug of what it is a kind of; `kind_of`: that."""

    slug: str
    name: str
    names: Mapping[str, str]
    aliases: Sequence[str]
    parent: str | None
    display_name: str
    kind_of: "Thing | None" = None

    @property
    def id(self) -> str:
        """What verdicts know it by; a landmark has a number."""
        return self.slug

    def path_in(self, language: str | None) -> tuple[str, ...]:
        """Its name in a language, after those of what it is a kind of: Animal, Dog."""
        name = name_in_language(self.name, self.names, language)
        return (*(self.kind_of.path_in(language) if self.kind_of else ()), name)

    @property
    def all_names(self) -> tuple[str, ...]:
        return (self.display_name, self.name, *self.names.values(), *self.aliases)


# Before the name of a thing, where the name of a landmark may stand, too.
PREFIX = "thing:"


@dataclass(frozen=True)
class ShownThing:
    """A thing that an image shows. `score`: 0 to 1; None: only a person says so."""

    thing: str
    name: str
    score: float | None
    verdict: VerdictKind | None


def record_things(
    connection: Connection, model_id: int, labels: "Sequence[Label]"
) -> None:
    """Record the things of a model. Their names replace those of earlier models."""
    # Without parents first: a parent may come after its children.
    new = [
        {"slug": label.slug, "name": label.name, "names": {}, "aliases": []}
        for label in labels
    ]
    insert_missing(connection, things, new)
    facts = [
        {
            "thing": label.slug,
            **label.model_dump(include={"name", "names", "aliases", "parent"}),
        }
        for label in labels
    ]
    connection.execute(update(things).where(things.c.slug == bindparam("thing")), facts)
    connection.execute(delete(thing_labels).where(thing_labels.c.model_id == model_id))
    rows = ((model_id, position, label.slug) for position, label in enumerate(labels))
    insert_page(connection, thing_labels, ("model_id", "position", "thing"), rows)


def delete_unused_things(connection: Connection) -> None:
    """Delete the things that no model names, that are on no image, and that no other is a kind of."""
    kinds = things.alias()
    users = (
        *(
            table.c.thing == things.c.slug
            for table in (thing_labels, image_things, thing_verdicts)
        ),
        kinds.c.parent == things.c.slug,
    )
    unused = delete(things).where(*(~exists().where(user) for user in users))
    # Each round deletes what the things of the round before were kinds of.
    while connection.execute(unused).rowcount:
        pass


def things_of_labels(
    connection: Connection, model_ids: Collection[int]
) -> dict[int, dict[int, str]]:
    """The things of those of these models that name things, by the positions in their scores."""
    slugs: dict[int, dict[int, str]] = {}
    for row in connection.execute(
        select(thing_labels).where(thing_labels.c.model_id.in_(model_ids))
    ):
        slugs.setdefault(row.model_id, {})[row.position] = row.thing
    return slugs


def all_things(connection: Connection) -> dict[str, Thing]:
    """Every thing by its slug, in the order of their English names."""
    language = display_language(connection)
    rows = connection.execute(select(things).order_by(things.c.name)).all()
    found = {
        row.slug: Thing(
            **row._mapping,  # noqa: SLF001
            display_name=name_in_language(row.name, row.names, language),
        )
        for row in rows
    }
    return {
        slug: replace(each, kind_of=found.get(each.parent or ""))
        for slug, each in found.items()
    }


def find_thing(connection: Connection, text: str, off_text: str = "") -> Thing:
    """The thing with this slug or name, in any language. `off_text`: that things are off, if they are.

    Raises:
        ThingNotFound: there is none, or no model of things was ever in use.
    """
    every = all_things(connection)
    text = text.removeprefix(PREFIX)
    by_name = {
        name.casefold(): thing for thing in every.values() for name in thing.all_names
    }
    thing = every.get(text) or by_name.get(text.casefold())
    if thing is not None:
        return thing
    close = [
        by_name[name].slug for name in get_close_matches(text.casefold(), by_name, n=3)
    ]
    known = ", ".join(dict.fromkeys(close)) or ", ".join(every)
    remedy = f"{'The nearest' if close else 'The models of things know'}: {known or 'none so far'}"
    raise ThingNotFound(name=text, remedy=remedy if known else off_text or remedy)


def with_kinds(connection: Connection, slug: str) -> frozenset[str]:
    """The slugs of a thing, and of all that are kinds of it."""
    return frozenset(
        connection.scalars(select(_kinds.c.thing).where(_kinds.c.kind == slug))
    )


# Each thing with itself and with all that it is a kind of.
_itself = select(things.c.slug.label("thing"), things.c.slug.label("kind")).cte(
    "kinds", recursive=True
)
_kinds = _itself.union(
    select(_itself.c.thing, things.c.parent)
    .join(things, things.c.slug == _itself.c.kind)
    .where(things.c.parent.is_not(None))
)

# What images show. What a model finds counts while it is in use, unless a person rejected it; what a
# person confirmed does. A model of the package is in use with those of earlier and later packages.
_used = models.alias()
_is_used = (_used.c.id == models.c.id) | (
    _used.c.file.is_(None) & models.c.file.is_(None)
)
_IS_IN_USE = image_things.c.model_id.in_(
    select(models.c.id)
    .join(_used, _is_used)
    .where(_used.c.in_use, _used.c.kind == models.c.kind)
)
_image_and_thing = image_things.c.content_id, image_things.c.thing
_found = select(*_image_and_thing, image_things.c.score).where(
    _IS_IN_USE,
    ~exists().where(
        thing_verdicts.c.content_id == image_things.c.content_id,
        thing_verdicts.c.thing == image_things.c.thing,
        thing_verdicts.c.verdict == VerdictKind.REJECTED,
    ),
)
_confirmed = select(
    thing_verdicts.c.content_id, thing_verdicts.c.thing, literal(1.0).label("score")
).where(thing_verdicts.c.verdict == VerdictKind.CONFIRMED)
shown_things = union_all(_found, _confirmed).subquery("shown_things")


def things_of_images(
    connection: Connection,
    content_ids: Collection[int],
    *,
    model_ids: Collection[int] | None = None,
    with_rejected: bool = False,
) -> Mapping[int, Sequence[ShownThing]]:
    """What these images show, by their ids, the surest first; each thing once, with its best score.

    `model_ids`: by these models, instead of those in use. `with_rejected`: and what they do not show.
    """
    if not content_ids:
        return {}
    is_of_model = (
        _IS_IN_USE if model_ids is None else image_things.c.model_id.in_(model_ids)
    )
    best = (
        select(*_image_and_thing, func.max(image_things.c.score).label("score"))
        .where(among(image_things.c.content_id, content_ids), is_of_model)
        .group_by(*_image_and_thing)
    )
    scores = {
        (row.content_id, row.thing): row.score for row in connection.execute(best)
    }
    decided = select(thing_verdicts).where(
        among(thing_verdicts.c.content_id, content_ids)
    )
    verdicts = {
        (row.content_id, row.thing): VerdictKind(row.verdict)
        for row in connection.execute(decided)
    }
    # What only people say comes first.
    certainty = dict.fromkeys(verdicts, 1.0) | scores
    every = all_things(connection) if certainty else {}
    shown: dict[int, list[ShownThing]] = {}
    for key in sorted(certainty, key=lambda key: (-certainty[key], key)):
        content_id, slug = key
        verdict = verdicts.get(key)
        if with_rejected or verdict is not VerdictKind.REJECTED:
            thing = ShownThing(slug, every[slug].display_name, scores.get(key), verdict)
            shown.setdefault(content_id, []).append(thing)
    return shown


def kinds_of_images(
    connection: Connection, content_ids: Sequence[int]
) -> Sequence[tuple[int, str]]:
    """These images with each thing that they show, and what it is a kind of."""
    pairs = (
        select(shown_things.c.content_id, _kinds.c.kind)
        .join(_kinds, _kinds.c.thing == shown_things.c.thing)
        .where(among(shown_things.c.content_id, content_ids))
    )
    return [(row.content_id, row.kind) for row in connection.execute(pairs)]


@dataclass(frozen=True)
class ThingCount:
    """A thing, the number of images that show it or a kind of it, and the surest photo of them."""

    thing: Thing
    photos: int
    photo_id: int
    digest: str

    @property
    def name(self) -> str:
        """Its name in the reader's language."""
        return name_in_language(
            self.thing.display_name, self.thing.names, reader_language()
        )


def count_photos_with_things(database: Database, job: int) -> int:
    """How many images of a job show a thing."""
    images = (
        select(photos.c.content_id)
        .join(job_items, job_items.c.photo_id == photos.c.id)
        .where(job_items.c.job_id == job, photos.c.gone_since.is_(None))
    )
    count = select(func.count(distinct(shown_things.c.content_id))).where(
        shown_things.c.content_id.in_(images)
    )
    return database.scalar(count) or 0


def count_things(database: Database, job: int | None = None) -> list[ThingCount]:
    """The things that photos show, or those of a job, in the order of their English names.

    Copies count once, as in a query.
    """
    of_job = job_items.c.photo_id == photos.c.id, job_items.c.job_id == job
    shown = (
        select(_kinds.c.kind, shown_things.c.score, photos.c.id, photos.c.content_id)
        .join(shown_things, shown_things.c.thing == _kinds.c.thing)
        .join(photos, photos.c.content_id == shown_things.c.content_id)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.gone_since.is_(None), contents.c.outcome.is_not(None))
        .where(true() if job is None else exists().where(*of_job))
        .subquery()
    )
    images = func.count(distinct(shown.c.content_id)).label("images")
    counted = (
        select(shown.c.kind, images, func.max(shown.c.score).label("score"))
        .group_by(shown.c.kind)
        .subquery()
    )
    # The cover is the surest photo, of several the latest.
    is_surest = (counted.c.kind == shown.c.kind) & (counted.c.score == shown.c.score)
    covers = (
        select(counted.c.kind, counted.c.images, func.max(shown.c.id).label("photo_id"))
        .join(shown, is_surest)
        .group_by(counted.c.kind, counted.c.images)
        .subquery()
    )
    with_digests = (
        select(covers, contents.c.digest)
        .join(photos, photos.c.id == covers.c.photo_id)
        .join(contents, contents.c.id == photos.c.content_id)
    )
    with database.read() as connection:
        rows = {row.kind: row for row in connection.execute(with_digests)}
        return [
            ThingCount(thing, row.images, row.photo_id, row.digest)
            for slug, thing in all_things(connection).items()
            if (row := rows.get(slug)) is not None
        ]
