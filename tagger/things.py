"""Things: what else images show, such as a dog, snow or a kitchen; found by name, and on images.

A model of things names them; people confirm and reject them. They are no landmarks: no place, trip or
suggestion follows from them, and photos without a landmark stay so. `causes` writes what images show.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, insert, or_, select, update

from tagger.database.connection import display_language
from tagger.database.enums import VerdictKind
from tagger.database.statements import among, insert_page
from tagger.database.tables import contents, image_things, models, photos, thing_labels, things
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

    def path_in(self, language: str | None) -> tuple[str, ...]:
        """Its name in a language, after those of what it is a kind of: Animal, Dog."""
        name = name_in_language(self.name, self.names, language)
        return (*(self.kind_of.path_in(language) if self.kind_of else ()), name)

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name that it can be found by."""
        return (self.display_name, self.name, *self.names.values(), *self.aliases)


PREFIX = "thing:"
"""Before the name of a thing, where the name of a landmark may stand, too."""


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
    rows = ((model_id, position, slug) for position, slug in enumerate(given))
    insert_page(connection, thing_labels, ("model_id", "position", "thing"), rows, skip_existing=True)


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


def _counts() -> ColumnElement[bool]:
    """Whether a row of `image_things` says that its image shows the thing."""
    in_use = image_things.c.model_id.in_(select(models.c.id).where(models.c.in_use))
    verdict = image_things.c.verdict
    return or_(verdict == VerdictKind.CONFIRMED, and_(verdict.is_(None), in_use))


def images_of(slugs: Collection[str]) -> Select[tuple[int]]:
    """The ids of images that show one of these things."""
    return select(image_things.c.content_id).where(image_things.c.thing.in_(slugs), _counts())


def shows_one_of(content_id: ColumnElement[int], slugs: Collection[str] | None = None) -> ColumnElement[bool]:
    """Whether the image shows one of these things, or any."""
    is_one = [] if slugs is None else [image_things.c.thing.in_(slugs)]
    return exists().where(image_things.c.content_id == content_id, *is_one, _counts())


def things_of_images(
    connection: Connection, content_ids: Collection[int], *, with_rejected: bool = False
) -> Mapping[int, Sequence[ShownThing]]:
    """What these images show, by their ids, the surest first. `with_rejected`: and what they do not show."""
    found: dict[int, list[ShownThing]] = {}
    if not content_ids:
        return found
    is_said = or_(_counts(), image_things.c.verdict.is_not(None)) if with_rejected else _counts()
    query = select(image_things).where(among(image_things.c.content_id, content_ids), is_said)
    rows = connection.execute(query).all()
    every = all_things(connection) if rows else {}
    for row in sorted(rows, key=lambda row: (-(row.score or 1.0), row.thing)):
        shown = ShownThing(row.thing, every[row.thing].display_name, row.score, row.verdict)
        found.setdefault(row.content_id, []).append(shown)
    return found


@dataclass(frozen=True)
class ThingCount:
    """A thing, the number of photos that show it or a kind of it, and the latest of them."""

    thing: Thing
    photos: int
    photo_id: int
    digest: str

    @property
    def name(self) -> str:
        """Its name in the reader's language."""
        return name_in_language(self.thing.display_name, self.thing.names, reader_language())


def count_things(connection: Connection) -> list[ThingCount]:
    """The things that photos show, in the order of their English names."""
    every = all_things(connection)
    found = []
    for slug, thing in every.items():
        of_thing = photos.c.content_id.in_(images_of(_with_kinds(every, slug))), photos.c.gone_since.is_(None)
        number, latest = connection.execute(
            select(func.count(), func.max(photos.c.id)).where(*of_thing)
        ).one()
        if number:
            of_photo = contents.c.id == photos.c.content_id, photos.c.id == latest
            digest = connection.execute(select(contents.c.digest).where(*of_photo)).scalar_one()
            found.append(ThingCount(thing, number, latest, digest))
    return found
