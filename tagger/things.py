"""Things: what else images show, such as a dog, snow or a kitchen; found by name, and on images.

A model of things names them; people confirm and reject them. They are no landmarks: no place, trip or
suggestion follows from them, and photos without a landmark stay so. `causes` writes what images show.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    delete,
    distinct,
    exists,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from tagger.database.connection import display_language
from tagger.database.enums import VerdictKind
from tagger.database.statements import among, insert_page
from tagger.database.tables import (
    contents,
    image_things,
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
        """Every name that it can be found by."""
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


def record_things(connection: Connection, model_id: int, labels: "Iterable[Label]") -> None:
    """Record the things of a model. Their names replace those of earlier models."""
    given = {label.slug: label for label in labels}
    known = set(connection.scalars(select(things.c.slug)))
    # Without parents first: a parent may come after its children.
    new = [
        {"slug": label.slug, "name": label.name, "names": {}, "aliases": []}
        for label in given.values()
        if label.slug not in known
    ]
    if new:
        connection.execute(insert(things), new)
    for label in given.values():
        facts = {
            "name": label.name,
            "names": label.names,
            "aliases": [*label.aliases],
            "parent": label.parent,
        }
        connection.execute(update(things).where(things.c.slug == label.slug).values(facts))
    connection.execute(delete(thing_labels).where(thing_labels.c.model_id == model_id))
    rows = ((model_id, position, slug) for position, slug in enumerate(given))
    insert_page(connection, thing_labels, ("model_id", "position", "thing"), rows)


def delete_unused_things(connection: Connection) -> None:
    """Delete the things that no model names, that are on no image, and that no other is a kind of."""
    kinds = things.alias()
    users = (
        *(table.c.thing == things.c.slug for table in (thing_labels, image_things, thing_verdicts)),
        kinds.c.parent == things.c.slug,
    )
    unused = delete(things).where(*(~exists().where(user) for user in users))
    # Each round deletes what the things of the round before were kinds of.
    while connection.execute(unused).rowcount:
        pass


def things_of_labels(connection: Connection, model_ids: Collection[int]) -> dict[int, dict[int, str]]:
    """The things of those of these models that name things, by the positions in their scores."""
    found: dict[int, dict[int, str]] = {}
    query = select(thing_labels.c.model_id, thing_labels.c.position, thing_labels.c.thing)
    for row in connection.execute(query.where(thing_labels.c.model_id.in_(model_ids))):
        found.setdefault(row.model_id, {})[row.position] = row.thing
    return found


def all_things(connection: Connection) -> dict[str, Thing]:
    """Every thing by its slug, in the order of their English names."""
    language = display_language(connection)
    rows = connection.execute(select(things).order_by(things.c.name)).all()
    found = {
        row.slug: Thing(**row._mapping, display_name=name_in_language(row.name, row.names, language))  # noqa: SLF001
        for row in rows
    }
    return {slug: replace(each, kind_of=found.get(each.parent or "")) for slug, each in found.items()}


def find_thing(connection: Connection, text: str) -> Thing:
    """The thing with this slug or name, in any language.

    Raises:
        ThingNotFound: there is none, or no model of things was ever in use.
    """
    return _find(all_things(connection), text)


def _find(every: Mapping[str, Thing], text: str) -> Thing:
    text = text.removeprefix(PREFIX)
    by_name = {name.casefold(): thing for thing in every.values() for name in thing.all_names}
    if (found := every.get(text) or by_name.get(text.casefold())) is not None:
        return found
    close = [by_name[name].slug for name in get_close_matches(text.casefold(), by_name, n=3)]
    raise ThingNotFound(name=text, names=", ".join(dict.fromkeys(close)) or ", ".join(every) or "none so far")


def things_named(connection: Connection, names: Collection[str]) -> Iterator[frozenset[str]]:
    """For each name, the slugs of its thing and of all that are kinds of it.

    Raises:
        ThingNotFound: as `find_thing`.
    """
    every = all_things(connection) if names else {}
    for name in names:
        yield _with_kinds(every, _find(every, name).slug)


def _with_kinds(every: Mapping[str, Thing], slug: str) -> frozenset[str]:
    found = {slug}
    while more := {each.slug for each in every.values() if each.parent in found} - found:
        found |= more
    return frozenset(found)


# What a model finds counts while it is in use, unless a person rejected it; what a person confirmed does.
_IS_IN_USE = image_things.c.model_id.in_(select(models.c.id).where(models.c.in_use))
_IS_REJECTED = exists().where(
    thing_verdicts.c.content_id == image_things.c.content_id,
    thing_verdicts.c.thing == image_things.c.thing,
    thing_verdicts.c.verdict == VerdictKind.REJECTED,
)
_FOUND = select(image_things.c.content_id).where(_IS_IN_USE, ~_IS_REJECTED)
_CONFIRMED = select(thing_verdicts.c.content_id).where(thing_verdicts.c.verdict == VerdictKind.CONFIRMED)


def images_of(slugs: Collection[str]) -> tuple[Select[tuple[int]], Select[tuple[int]]]:
    """The ids of images that show one of these things: by models in use, and by people."""
    return _FOUND.where(image_things.c.thing.in_(slugs)), _CONFIRMED.where(thing_verdicts.c.thing.in_(slugs))


def shows_one_of(content_id: ColumnElement[int], slugs: Collection[str] | None = None) -> ColumnElement[bool]:
    """Whether the image shows one of these things, or any."""
    found, confirmed = (_FOUND, _CONFIRMED) if slugs is None else images_of(slugs)
    return or_(
        found.where(image_things.c.content_id == content_id).exists(),
        confirmed.where(thing_verdicts.c.content_id == content_id).exists(),
    )


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
    is_of_model = _IS_IN_USE if model_ids is None else image_things.c.model_id.in_(model_ids)
    key = image_things.c.content_id, image_things.c.thing
    best = select(*key, func.max(image_things.c.score).label("score")).group_by(*key)
    is_found = among(image_things.c.content_id, content_ids), is_of_model
    scores = {(row.content_id, row.thing): row.score for row in connection.execute(best.where(*is_found))}
    decided = select(thing_verdicts).where(among(thing_verdicts.c.content_id, content_ids))
    kinds = {(row.content_id, row.thing): VerdictKind(row.verdict) for row in connection.execute(decided)}
    every = all_things(connection) if scores or kinds else {}
    shown: dict[int, list[ShownThing]] = {}
    for content_id, slug in sorted(scores.keys() | kinds.keys()):
        score, verdict = scores.get((content_id, slug)), kinds.get((content_id, slug))
        if with_rejected or verdict is not VerdictKind.REJECTED:
            thing = ShownThing(slug, every[slug].display_name, score, verdict)
            shown.setdefault(content_id, []).append(thing)
    for of_image in shown.values():
        of_image.sort(key=lambda thing: 1.0 if thing.score is None else thing.score, reverse=True)
    return shown


@dataclass(frozen=True)
class ThingCount:
    """A thing, the number of images that show it or a kind of it, and the latest photo of them."""

    thing: Thing
    photos: int
    photo_id: int
    digest: str

    @property
    def name(self) -> str:
        """Its name in the reader's language."""
        return name_in_language(self.thing.display_name, self.thing.names, reader_language())


def count_things(connection: Connection) -> list[ThingCount]:
    """The things that photos show, in the order of their English names. Copies count once, as in a query."""
    shown = union_all(
        _FOUND.add_columns(image_things.c.thing), _CONFIRMED.add_columns(thing_verdicts.c.thing)
    ).subquery()
    # Each thing with itself and with all that it is a kind of.
    kinds = select(things.c.slug.label("thing"), things.c.slug.label("kind")).cte(recursive=True)
    upwards = select(kinds.c.thing, things.c.parent).join(things, things.c.slug == kinds.c.kind)
    kinds = kinds.union(upwards.where(things.c.parent.is_not(None)))
    counted = (
        select(
            kinds.c.kind,
            func.count(distinct(photos.c.content_id)).label("images"),
            func.max(photos.c.id).label("latest"),
        )
        .join(shown, shown.c.thing == kinds.c.thing)
        .join(photos, photos.c.content_id == shown.c.content_id)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.gone_since.is_(None), contents.c.outcome.is_not(None))
        .group_by(kinds.c.kind)
        .subquery()
    )
    rows = connection.execute(
        select(counted, contents.c.digest)
        .join(photos, photos.c.id == counted.c.latest)
        .join(contents, contents.c.id == photos.c.content_id)
    )
    counts = {row.kind: row for row in rows}
    return [
        ThingCount(thing, counts[slug].images, counts[slug].latest, counts[slug].digest)
        for slug, thing in all_things(connection).items()
        if slug in counts
    ]
