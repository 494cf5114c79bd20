"""Changes of landmarks: those that people add, names, slugs, positions, languages; merging and removing.

What a model's manifest says is recorded by registration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypedDict, get_args

from sqlalchemy import Connection, Select, and_, delete, func, insert, select, update

from tagger.database.connection import AuditAction, Database, record_action
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
    LandmarkExists,
    LandmarkInvalid,
    LandmarkNotFound,
    LandmarkOfModel,
    LandmarksDistinct,
    NotFound,
)
from tagger.landmarks import (
    Landmark,
    find_landmark,
    landmarks_that_may_have,
    normalize_name,
)
from tagger.model import SUGGESTED_SCORE
from tagger.model.artifact import Extent
from tagger.tags import delete_unused, record_landmark, record_sights
from tagger.tags.causes import delete_of_landmark, lock_images_of, move_to_landmark
from tagger.texts.names import (
    MAX_SLUG,
    check_language,
    check_slug,
    clean_name,
    digest_slug,
    invalid_text,
    optional_text,
    slug_of_name,
)
from tagger.texts.text_format import N_, gettext

EXTENTS: tuple[str, ...] = get_args(Extent)


def derive_slug(name: str) -> str:
    slug = slug_of_name(name) or digest_slug("landmark", name)
    return slug[:MAX_SLUG].strip("-")


_DEGREES = "latitude and longitude in degrees, like 48.86,2.29"


def check_position(position: tuple[float, float]) -> tuple[float, float]:
    """Raises:
    LandmarkInvalid: latitude or longitude is out of range, or no number.
    """
    try:
        latitude, longitude = map(float, position)
    except (TypeError, ValueError):
        raise LandmarkInvalid(
            reason=f"position: {position!r} is not {_DEGREES}"
        ) from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        reason = f"position: {latitude:g},{longitude:g} is not {_DEGREES}"
        raise LandmarkInvalid(reason=reason)
    return latitude, longitude


def check_extent(extent: str) -> str:
    """Raises:
    LandmarkInvalid: there is no such extent.
    """
    if extent not in EXTENTS:
        raise LandmarkInvalid(reason=f"extent: use one of {', '.join(EXTENTS)}")
    return extent


@dataclass(frozen=True)
class NewLandmark:
    """A landmark to add. `slug` None: that of the name. `position`: latitude and longitude in degrees.

    `names`: by language. Those that another landmark has are left out.
    """

    name: str
    slug: str | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    position: tuple[float, float] | None = None
    extent: str | None = None
    aliases: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


def find_or_add_landmark(
    database: Database,
    landmark: NewLandmark,
    *,
    may_add: bool = True,
    dry_run: bool = False,
) -> tuple[Landmark, bool]:
    """The landmark of that slug or name, and whether it was added now; with `dry_run`, whether it would be.

    Raises:
        LandmarkNotFound: there is none, and it may not be added.
        LandmarkAmbiguous: several landmarks have the name.
        LandmarkInvalid, LandmarkExists: the name cannot be that of a new landmark; or it has another country,
            city or position, which are not changed.
    """
    with database.write(dry_run=dry_run) as connection:
        try:
            found = find_landmark(connection, landmark.name)
        except LandmarkNotFound:
            if not may_add:
                raise
            return insert_landmark(connection, landmark), True
    has_country = landmark.country in {None, found.country}
    has_position = landmark.position in {None, (found.latitude, found.longitude)}
    has_city = landmark.city in {None, found.city}
    if not (has_country and has_city and has_position):
        raise LandmarkInvalid(
            reason=f"{found.display_name} exists already, with another country, city or "
            f"position. Change it with `tagger landmark edit {found.slug}`"
        )
    return found, False


def add_landmark(
    database: Database, new: NewLandmark, *, dry_run: bool = False
) -> Landmark:
    """Add a landmark that no model has to know.

    Raises:
        LandmarkInvalid: a text, the slug, the position or the extent is invalid.
        LandmarkExists: another landmark has the slug, or if it is None, the name.
    """
    with database.write(dry_run=dry_run) as connection:
        return insert_landmark(connection, new)


def insert_landmark(connection: Connection, new: NewLandmark) -> Landmark:
    """Add a landmark. Raises as `add_landmark`."""
    lock_tables(connection, landmarks)
    every = landmarks_that_may_have(
        connection, [new.name, new.slug or "", *new.aliases, *new.names.values()]
    )
    name = clean_name(new.name)
    slug = derive_slug(name) if new.slug is None else check_slug(new.slug)
    for landmark in every:
        # Names may be shared, but only on purpose: with a slug that the person chose.
        has_name = new.slug is None and is_name(name, landmark.all_names)
        if has_name or slug in landmark.all_slugs:
            place = ", ".join(filter(None, (landmark.city, landmark.country)))
            raise LandmarkExists(
                name=name if has_name else slug,
                slug=landmark.slug,
                owner=landmark.display_name,
                place=f" ({place})" if place else "",
            )
    row = {
        "slug": slug,
        "name": name,
        "names": {
            check_language(language): clean_name(other_name)
            for language, other_name in new.names.items()
            if not any(is_name(other_name, landmark.all_names) for landmark in every)
        },
        "aliases": clean_aliases(new.aliases, name, every),
        **{
            column: optional_text(getattr(new, column), column)
            for column in ("country", "region", "city")
        },
        **position_columns(new.position),
        "extent": None if new.extent is None else check_extent(new.extent),
    }
    facts = {
        column: value
        for column, value in row.items()
        if column != "slug" and value not in (None, [], {})
    }
    connection.execute(insert(landmarks).values(row | {"edited": sorted(facts)}))
    record_action(connection, AuditAction.LANDMARK_ADD, slug, **facts)
    landmark = find_landmark(connection, slug)
    record_sights(connection, landmark.all_names)
    return landmark


class LandmarkChanges(TypedDict, total=False):
    """What to change in a landmark; None or an empty text removes a value. What is missing stays.

    `names`: by language; None removes the name in that language.
    """

    name: str
    names: Mapping[str, str | None]
    add_aliases: Sequence[str]
    remove_aliases: Sequence[str]
    country: str | None
    region: str | None
    city: str | None
    position: tuple[float, float] | None
    extent: str | None


@dataclass(frozen=True)
class EditedLandmark:
    """A landmark after an edit. `changes`: each changed column with its value before and after."""

    landmark: Landmark
    changes: dict[str, tuple[Any, Any]]


def edit_landmark(
    database: Database, name: str, changes: LandmarkChanges, *, dry_run: bool = False
) -> EditedLandmark:
    """Change a landmark, found by slug or name. Models do not change what a person set.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `find_landmark`.
        LandmarkInvalid: a value is invalid, or a name would not find this landmark alone.
    """
    with database.write(dry_run=dry_run) as connection:
        lock_tables(connection, landmarks)
        landmark = find_landmark(connection, name)
        names = [
            changes.get("name", ""),
            *filter(None, changes.get("names", {}).values()),
            *changes.get("add_aliases", ()),
        ]
        columns = _changed_columns(
            changes, landmark, landmarks_that_may_have(connection, names)
        )
        changed = {
            column: (before, value)
            for column, value in columns.items()
            if value != (before := getattr(landmark, column))
        }
        # A value that stays the same counts as edited, too: the person has decided it.
        edited = sorted({*landmark.edited, *columns})
        values = {column: after for column, (_, after) in changed.items()} | {
            "edited": edited
        }
        connection.execute(
            update(landmarks).where(landmarks.c.id == landmark.id).values(values)
        )
        if changed.keys() & {"latitude", "longitude", "extent"}:
            record_landmark(connection, landmark.id)
        if changed:
            record_action(
                connection, AuditAction.LANDMARK_EDIT, landmark.slug, changes=changed
            )
        edited_landmark = find_landmark(connection, landmark.slug)
        record_sights(connection, [*landmark.all_names, *edited_landmark.all_names])
        return EditedLandmark(edited_landmark, changed)


def _changed_columns(
    changes: LandmarkChanges, landmark: Landmark, every: Sequence[Landmark]
) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "name" in changes:
        columns["name"] = _changed_name(changes["name"], landmark, every)
    if "names" in changes:
        columns["names"] = _changed_names(changes["names"], landmark, every)
    if "add_aliases" in changes or "remove_aliases" in changes:
        columns["aliases"] = _changed_aliases(
            changes, columns.get("name", landmark.name), landmark, every
        )
    for column in ("country", "region", "city"):
        if column in changes:
            columns[column] = optional_text(changes[column], column)
    if "position" in changes:
        columns |= position_columns(changes["position"])
    if "extent" in changes:
        extent = changes["extent"]
        columns["extent"] = check_extent(extent) if extent else None
    return columns


_FINDS = N_("%(name)s finds %(other)s already, so it would not find this landmark")


def _changed_name(text: str, landmark: Landmark, every: Sequence[Landmark]) -> str:
    name = clean_name(text)
    for other in every:
        if other.id == landmark.id:
            continue
        is_elsewhere = (
            other.country
            and landmark.country
            and not is_name(other.country, [landmark.country])
        )
        if is_name(name, [other.name]) and not is_elsewhere:
            reason = N_(
                "a landmark has the name %(other)s already; choose another, or merge the two"
            )
            raise invalid_text("name", reason, other=other.name)
        if name.casefold() in other.all_slugs:
            raise invalid_text("name", _FINDS, name=name, other=other.display_name)
    return name


def _changed_names(
    changes: Mapping[str, str | None], landmark: Landmark, every: Sequence[Landmark]
) -> dict[str, str]:
    names = dict(landmark.names)
    for language, typed in changes.items():
        check_language(language)
        if typed is not None:
            names[language] = clean_name(typed)
            require_findable(names[language], "name", every, landmark)
        elif names.pop(language, None) is None:
            raise NotFound(
                reason=f"{landmark.slug} has no name in the language {language}."
            )
    return names


def _changed_aliases(
    changes: LandmarkChanges, name: str, landmark: Landmark, every: Sequence[Landmark]
) -> list[str]:
    aliases = list(landmark.aliases)
    for typed in changes.get("remove_aliases", ()):
        left = [alias for alias in aliases if not is_name(typed, [alias])]
        if left == aliases:
            raise NotFound(
                reason=f"{landmark.slug} has no alias {clean_name(typed, 'alias')}."
            )
        aliases = left
    added = clean_aliases(changes.get("add_aliases", ()), name, every, own=landmark)
    return list(dict.fromkeys([*aliases, *added]))


def clean_aliases(
    aliases: Sequence[str],
    name: str,
    every: Sequence[Landmark],
    *,
    own: Landmark | None = None,
) -> list[str]:
    """The aliases without repetitions and without the landmark's name. `own` is the landmark, if it exists.

    Raises:
        LandmarkInvalid: an alias is invalid, or is another landmark's slug or name, which it would find.
    """
    cleaned = list(dict.fromkeys(clean_name(alias, "alias") for alias in aliases))
    for alias in cleaned:
        require_findable(alias, "alias", every, own)
    return [alias for alias in cleaned if alias != name]


def require_findable(
    name: str, field: str, every: Sequence[Landmark], own: Landmark | None
) -> None:
    """Raises:
    LandmarkInvalid: the name of `own` in another language, or its alias, is another landmark's slug or name.
    """
    for landmark in every:
        is_other = own is None or landmark.id != own.id
        if is_other and (
            name.casefold() in landmark.all_slugs or is_name(name, [landmark.name])
        ):
            raise invalid_text(field, _FINDS, name=name, other=landmark.display_name)


def is_name(name: str, names: Sequence[str]) -> bool:
    return normalize_name(name) in map(normalize_name, names)


def position_columns(position: tuple[float, float] | None) -> dict[str, float | None]:
    """The columns of a position.

    Raises:
        LandmarkInvalid: it is out of range.
    """
    latitude, longitude = (None, None) if position is None else check_position(position)
    return {"latitude": latitude, "longitude": longitude}


# Merging two landmarks, and removing one that people added: what becomes of the rows that refer to
# them.
#
# Its classifiers are deleted with its row (`ON DELETE CASCADE`).

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


def merge_landmark(
    database: Database, name: str, into: str, *, dry_run: bool = False
) -> MergedLandmark:
    """Give verdicts, tags, names and labels of a landmark to another one, which its slug finds from now on.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `find_landmark`.
        LandmarkInvalid: both are the same landmark.
        LandmarksDistinct: a model has a label for each of them.
    """
    with database.write(dry_run=dry_run) as connection:
        lock_tables(connection, models, landmarks)
        merged, target = (
            find_landmark(connection, name),
            find_landmark(connection, into),
        )
        if merged.id == target.id:
            reason = N_(
                "%(name)s and %(other)s are both %(landmark)s, so there is nothing to merge"
            )
            raise LandmarkInvalid(
                reason=gettext(
                    reason, name=name, other=into, landmark=target.display_name
                )
            )
        # The models that have a label for each of the two landmarks.
        of_both = (
            select(models.c.name)
            .join(model_labels, model_labels.c.model_id == models.c.id)
            .where(model_labels.c.landmark_id.in_([merged.id, target.id]))
            .group_by(models.c.name)
            .having(func.count() > 1)
            .order_by(models.c.name)
        )
        if both := connection.scalars(of_both).all():
            raise LandmarksDistinct(
                merged=merged.slug,
                target=target.slug,
                models=", ".join(both),
                name=merged.display_name,
                other=target.display_name,
            )
        taught = _retire_classifiers(connection, merged)
        united = _united(target, merged)
        images = lock_images_of(connection, merged.id, target.id)
        for each in (merged, target):
            record_landmark(connection, each.id)
            record_sights(connection, each.all_names)
        replaced = list(_opposite_verdicts(connection, merged, target))
        counts = move_to_landmark(connection, images, merged.id, target.id)
        connection.execute(
            update(model_labels)
            .where(model_labels.c.landmark_id == merged.id)
            .values(landmark_id=target.id)
        )
        connection.execute(delete(landmarks).where(landmarks.c.id == merged.id))
        connection.execute(
            update(landmarks).where(landmarks.c.id == target.id).values(united)
        )
        details: dict[str, Any] = {"into": target.slug, **counts}
        pages: list[list[dict[str, Any]] | None] = [*replaced] or [None]
        for page in pages:  # an entry of the audit log for each
            record_action(
                connection,
                AuditAction.LANDMARK_MERGE,
                merged.slug,
                **details,
                replaced=page,
            )
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
        names = select(models.c.name).join(
            model_labels, model_labels.c.model_id == models.c.id
        )
        known_by = connection.scalars(
            names.where(model_labels.c.landmark_id == landmark.id)
        ).all()
        if known_by:
            raise LandmarkOfModel(
                slug=landmark.slug,
                name=landmark.display_name,
                models=", ".join(sorted(known_by)),
            )
        taught = _retire_classifiers(connection, landmark)
        images = lock_images_of(connection, landmark.id)
        kinds = connection.execute(
            select(verdicts.c.verdict, func.count())
            .where(verdicts.c.landmark_id == landmark.id)
            .group_by(verdicts.c.verdict)
        )
        counts: dict[str, int] = {row[0]: row[1] for row in kinds}
        # A dry run shows the number of verdicts, and need not be told to delete them.
        if counts and not (with_verdicts or dry_run):
            total = sum(counts.values())
            raise Conflict(
                reason=f"{landmark.slug} has {total} {'verdict' if total == 1 else 'verdicts'}, which "
                "would be lost. To keep them, merge it into another landmark with `tagger landmark merge`. "
                "To delete them too, add --with-verdicts."
            )
        schedule_names = [
            row.name
            for row in connection.execute(
                select(schedules.c.name, schedules.c.options).order_by(schedules.c.name)
            ).all()
            if _is_named(connection, row.options.get("landmark"), landmark)
        ]
        record_landmark(connection, landmark.id)
        record_sights(connection, landmark.all_names)
        delete_of_landmark(connection, images, landmark.id)
        delete_unused(connection, images)
        connection.execute(delete(landmarks).where(landmarks.c.id == landmark.id))
        record_action(
            connection,
            AuditAction.LANDMARK_REMOVE,
            landmark.slug,
            name=landmark.name,
            **counts,
        )
        return RemovedLandmarkDocument(
            landmark.slug,
            landmark.name,
            counts.get("confirmed", 0),
            counts.get("rejected", 0),
            taught,
            schedule_names,
            dry_run,
        )


def _opposite_verdicts(
    connection: Connection, merged: Landmark, target: Landmark
) -> Iterator[list[dict[str, Any]]]:
    # The older one of the opposite verdicts on each image, in pages, for the audit log.
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
    # The columns of `target` with the names and slugs of `merged`, and its facts where `target` has none.
    names = dict.fromkeys([*target.aliases, *merged.all_names])
    known = {target.name, *target.names.values()}
    aliases = [name for name in names if name not in known]
    gaps = [
        column
        for column in ("country", "region", "city", "extent")
        if getattr(target, column) is None
    ]
    if target.latitude is None or target.longitude is None:
        gaps += ["latitude", "longitude"]
    filled = {
        column: getattr(merged, column)
        for column in gaps
        if column not in target.edited
    }
    edited = {*target.edited, *(column for column in filled if column in merged.edited)}
    return {
        "aliases": aliases,
        "merged_slugs": [*target.merged_slugs, *merged.all_slugs],
        "edited": sorted(edited),
        **filled,
    }


def _is_named(
    connection: Connection, names: str | list[str] | None, landmark: Landmark
) -> bool:
    for name in [names] if isinstance(names, str) else names or ():
        with suppress(LandmarkNotFound, LandmarkAmbiguous):
            if find_landmark(connection, name).id == landmark.id:
                return True
    return False


def _retire_classifiers(connection: Connection, landmark: Landmark) -> int:
    # Let workers read the classifiers again, without the landmark's. Returns the number of its taught tags.
    #
    # This waits for workers that compare images with its classifiers: they lock the version before tags.
    using = select(classifiers.c.model_id).where(
        classifiers.c.landmark_id == landmark.id
    )
    connection.execute(
        update(models)
        .where(models.c.id.in_(using))
        .values(taught_version=models.c.taught_version + 1)
    )
    shown = select(func.count()).where(
        taught_tags.c.landmark_id == landmark.id, taught_tags.c.score >= SUGGESTED_SCORE
    )
    return connection.scalar(shown) or 0


def move_labels(
    connection: Connection, landmark_id: int, slugs: Collection[str], to: int
) -> None:
    """Assign those labels of a landmark that have one of these slugs in their manifests to another one."""
    query = (
        select(models.c.manifest, model_labels.c.model_id, model_labels.c.position)
        .join(models, models.c.id == model_labels.c.model_id)
        .where(model_labels.c.landmark_id == landmark_id)
    )
    for row in connection.execute(query).all():
        if row.manifest["labels"][row.position]["slug"] in slugs:
            connection.execute(
                update(model_labels)
                .where(model_labels.c.model_id == row.model_id)
                .where(model_labels.c.position == row.position)
                .values(landmark_id=to)
            )
