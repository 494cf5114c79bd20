"""Verdicts on photos: given and withdrawn, each in one transaction, listed, and as training data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    delete,
    exists,
    false,
    func,
    select,
)

from tagger.database import VerdictKind
from tagger.database.connection import (
    AuditAction,
    Database,
    display_language,
    open_database,
    record_action,
)
from tagger.database.statements import among, insert_missing, pages
from tagger.database.tables import (
    contents,
    dismissals,
    favourites,
    landmarks,
    model_labels,
    models,
    photos,
    positions,
    sight_verdicts,
    thing_verdicts,
    verdicts,
)
from tagger.errors import (
    LandmarkNotFound,
    PhotoNotClassified,
    ThingNotFound,
)
from tagger.landmarks import Landmark, all_landmarks, find_landmark
from tagger.query.details import find_photo_id
from tagger.query.filters import ResolvedQuery, matching_landmarks
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import NameCache, select_photos, tag_rows
from tagger.roots import Root, RootPaths, list_roots
from tagger.roots.availability import UnavailableFolder, unavailable_folders
from tagger.settings import Settings
from tagger.tags import lock_contents
from tagger.tags.causes import (
    VERDICT_TABLES,
    NewDismissal,
    NewVerdict,
    SightName,
    Subject,
    confirmed_contents,
    delete_dismissals,
    delete_verdicts,
    hold_landmarks,
    verdicts_about,
    write_dismissals,
    write_verdicts,
)
from tagger.things import PREFIX, Thing, all_things, find_thing

VERDICT_COLUMNS = ("path", "landmark", "name", "verdict", "by", "at", "digest")


@dataclass(frozen=True)
class PhotoVerdict:
    """The verdict of a photo, `before` the request and after it. `copies`: the photos of its image."""

    photo: int
    path: str
    digest: str
    before: VerdictKind | None
    verdict: VerdictKind | None
    changed: bool
    copies: int


@dataclass(frozen=True)
class VerdictsDocument:
    """The verdicts of photos on a landmark or thing, after a request. `left_out`: photos not classified."""

    landmark: str
    name: str
    photos: Sequence[PhotoVerdict]
    left_out: Sequence[int]
    dry_run: bool


def give_verdicts(
    database: Database,
    photos: Sequence[Path | int],
    landmark: str,
    kind: VerdictKind,
    by: str | None,
    root_paths: RootPaths,
    *,
    dry_run: bool = False,
) -> VerdictsDocument:
    """Store verdicts for photos, named by path or id, and a landmark or thing. They replace earlier ones.

    Raises:
        PhotoNotFound: the database does not have a photo at one of the paths.
        PhotoNotClassified: no model has classified it. Photos named by id are left out then.
        LandmarkNotFound, LandmarkAmbiguous: no registered model has a landmark or thing of that name.
    """
    with database.write(dry_run=dry_run) as connection:
        current = _CurrentVerdicts.of(connection, photos, landmark, root_paths)
        current.write(connection, current.before, kind, by)
        return current.document(connection, root_paths, dry_run=dry_run)


def withdraw_verdicts(
    database: Database,
    photos: Sequence[Path | int],
    landmark: str,
    kind: VerdictKind,
    root_paths: RootPaths,
    *,
    dry_run: bool = False,
) -> VerdictsDocument:
    """Delete those verdicts of photos that are of `kind`: the predictions of the model count again.

    Raises:
        PhotoNotFound, PhotoNotClassified, LandmarkNotFound, LandmarkAmbiguous: as `give_verdicts`.
    """
    with database.write(dry_run=dry_run) as connection:
        current = _CurrentVerdicts.of(connection, photos, landmark, root_paths)
        if count := delete_verdicts(
            connection, current.before, current.subject.id, kind
        ):
            record_action(
                connection,
                AuditAction.VERDICTS_WITHDRAW,
                current.subject.slug,
                verdict=kind,
                count=count,
            )
            current.update_sights(connection)
        return current.document(connection, root_paths, dry_run=dry_run)


def give_examples(
    database: Database,
    landmark: str,
    confirmed: Sequence[int],
    rejected: Sequence[int],
    by: str | None,
) -> None:
    """Confirm a landmark on some photos, from which it is taught, and reject it on others.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `give_verdicts`.
    """
    with database.write() as connection:
        current = _CurrentVerdicts.of(connection, [*confirmed, *rejected], landmark, {})
        for photo_ids, kind in (
            (confirmed, VerdictKind.CONFIRMED),
            (rejected, VerdictKind.REJECTED),
        ):
            images = {
                current.images[photo_id]
                for photo_id in photo_ids
                if photo_id in current.images
            }
            current.write(connection, images, kind, by)


# Before the name of a sight, where the name of a landmark may stand, too.
SIGHT_PREFIX = "sight:"


@dataclass(frozen=True)
class NamedSight:
    """A sight, of which verdicts say that photos were not taken there; they may show it."""

    id: SightName

    @property
    def slug(self) -> str:
        return SIGHT_PREFIX + self.id

    @property
    def display_name(self) -> str:
        return self.id


@dataclass(frozen=True)
class _CurrentVerdicts:
    # The verdicts of images about one landmark or thing before a change. `images`: by photo id.

    subject: Landmark | Thing | NamedSight
    photo_ids: Sequence[int]
    images: Mapping[int, int]
    before: Mapping[int, VerdictKind | None]

    @classmethod
    def of(
        cls,
        connection: Connection,
        named: Sequence[Path | int],
        name: str,
        root_paths: RootPaths,
    ) -> _CurrentVerdicts:
        paths = {
            path: find_photo_id(connection, path, root_paths)
            for path in named
            if isinstance(path, Path)
        }
        photo_ids = [paths[each] if isinstance(each, Path) else each for each in named]
        images = images_of(connection, photo_ids)
        for path, photo_id in paths.items():
            if photo_id not in images:
                kind = connection.scalar(
                    select(photos.c.failure_kind).where(photos.c.id == photo_id)
                )
                raise PhotoNotClassified(
                    path=path, why=f": it failed ({kind})" if kind else ""
                )
        hold_landmarks(connection)
        subject: Landmark | Thing | NamedSight
        if name.startswith(SIGHT_PREFIX):
            subject = _sight_of(connection, name.removeprefix(SIGHT_PREFIX), images)
        else:
            subject = _find_subject(connection, name)
        return cls(
            subject,
            photo_ids,
            images,
            _kinds(connection, {*images.values()}, subject.id),
        )

    def write(
        self,
        connection: Connection,
        images: Collection[int],
        kind: VerdictKind,
        by: str | None,
    ) -> None:
        now = datetime.now(UTC)
        write_verdicts(
            connection,
            [NewVerdict(image, self.subject.id, kind, by, now) for image in images],
        )
        self.update_sights(connection)

    def update_sights(self, connection: Connection) -> None:
        """Let photos be at the sights that their verdicts leave, once one about a sight has changed."""
        if isinstance(self.subject, NamedSight):
            from tagger.positions.update import update_sights  # numpy

            update_sights(connection, self.before)

    def document(
        self, connection: Connection, root_paths: RootPaths, *, dry_run: bool
    ) -> VerdictsDocument:
        # What has become of them in this transaction.
        after = _kinds(connection, self.before, self.subject.id)
        names = NameCache(connection, root_paths)
        rows = connection.execute(
            select_photos().where(among(photos.c.id, self.images))
        )
        found = {row.id: (names.path(connection, row), row.digest) for row in rows}
        counted = connection.execute(
            select(photos.c.content_id, func.count())
            .where(among(photos.c.content_id, self.before))
            .where(photos.c.gone_since.is_(None))
            .group_by(photos.c.content_id)
        )
        copies = {row[0]: row[1] for row in counted}
        changed = [
            PhotoVerdict(
                photo_id,
                *found[photo_id],
                self.before[image],
                after[image],
                self.before[image] is not after[image],
                copies.get(image, 0),
            )
            for photo_id in self.photo_ids
            if (image := self.images.get(photo_id)) is not None
        ]
        left_out = [
            photo_id for photo_id in self.photo_ids if photo_id not in self.images
        ]
        return VerdictsDocument(
            self.subject.slug,
            self.subject.display_name,
            changed,
            left_out,
            dry_run=dry_run,
        )


def _sight_of(
    connection: Connection, name: str, images: Mapping[int, int]
) -> NamedSight:
    # The sight of these photos that has this name in any language, as positions or verdicts name it.
    from tagger.sights import library_sights  # numpy

    sights = library_sights(connection)
    at_photos = select(positions.c.sight).where(among(positions.c.photo_id, images))
    rejected = select(sight_verdicts.c.sight).where(
        among(sight_verdicts.c.content_id, images.values())
    )
    of_photos = {*connection.scalars(at_photos), *connection.scalars(rejected)}
    for index in sights.called(name):
        if sights.names[index] in of_photos:
            return NamedSight(SightName(sights.names[index]))
    return NamedSight(SightName(name))


def _find_subject(connection: Connection, name: str) -> Landmark | Thing:
    # The landmark of a name; without one, or with its prefix, the thing.
    if name.startswith(PREFIX):
        return find_thing(connection, name)
    try:
        return find_landmark(connection, name)
    except LandmarkNotFound:
        with suppress(ThingNotFound):
            return find_thing(connection, name)
        raise


def _kinds(
    connection: Connection, images: Collection[int], subject: Subject
) -> dict[int, VerdictKind | None]:
    # The verdict of each image about a landmark or thing.
    table, is_about_it = verdicts_about(subject)
    rows = connection.execute(
        select(table.c.content_id, table.c.verdict).where(
            among(table.c.content_id, images), is_about_it
        )
    )
    return dict.fromkeys(images) | {
        row.content_id: VerdictKind(row.verdict) for row in rows
    }


def rejected_sights(database: Database, photo_id: int) -> Sequence[str]:
    """The names of the sights at which a photo was not taken, as people say."""
    query = (
        select(sight_verdicts.c.sight)
        .join(photos, photos.c.content_id == sight_verdicts.c.content_id)
        .where(
            photos.c.id == photo_id, sight_verdicts.c.verdict == VerdictKind.REJECTED
        )
        .order_by(sight_verdicts.c.sight)
    )
    with database.read() as connection:
        sights = connection.scalars(query).all()
        if not sights:
            return []
        from tagger.sights import library_sights  # numpy

        table, language = library_sights(connection), display_language(connection)
        return [table.name_in(sight, language) for sight in sights]


# What people say of images: verdicts, dismissals (not a landmark at all) and favourites (a star).
#
# A dismissal is a verdict about an image as a whole: no prediction for it is accepted, and it is no
# unknown photo any more. A confirmed landmark says the opposite, so it deletes the dismissal, and
# an image with one is not put away.

# The verdict on an image as a whole, a dismissal. It is no kind: it is about no landmark.
NOT_A_LANDMARK = "not-a-landmark"


def stored_verdicts(
    connection: Connection, keys: Collection[tuple[int, Subject]]
) -> dict[tuple[int, Subject], tuple[VerdictKind, datetime]]:
    """Kind and time of the stored verdicts among `keys`: content ids and what the verdicts are about."""
    content_ids = {content_id for content_id, _ in keys}
    stored = {}
    for kind, table in VERDICT_TABLES.items():
        query = select(table).where(among(table.c.content_id, content_ids))
        for content_id, subject, verdict, _, given_at in connection.execute(query):
            stored[content_id, kind(subject)] = VerdictKind(verdict), given_at
    return {key: value for key, value in stored.items() if key in keys}


def stored_dismissals(
    connection: Connection, content_ids: Collection[int]
) -> dict[int, datetime]:
    """When the dismissed ones of these images were dismissed, by content id."""
    rows = connection.execute(
        select(dismissals).where(dismissals.c.content_id.in_(content_ids))
    )
    return {row.content_id: row.given_at for row in rows}


@dataclass
class DismissedPhotos:
    """The effect on several photos, by id.

    `confirmed`: photos left out for a confirmed landmark; `left_out`: because they are not classified.
    """

    changed: list[int]
    unchanged: list[int]
    confirmed: list[int]
    left_out: list[int]


def dismiss_photos(
    database: Database,
    photo_ids: Sequence[int],
    by: str | None,
    *,
    dry_run: bool = False,
) -> DismissedPhotos:
    """Put photos away, page by page. Copies are put away with them."""
    result = DismissedPhotos([], [], [], [])
    for page in pages(photo_ids):
        with database.write(dry_run=dry_run) as connection:
            changed = _compare_page(connection, page, result, away=True)
            now = datetime.now(UTC)
            write_dismissals(
                connection, [NewDismissal(image, by, now) for image in changed]
            )
    return result


def restore_photos(
    database: Database, photo_ids: Sequence[int], *, dry_run: bool = False
) -> DismissedPhotos:
    """Bring back photos that were put away, page by page: the predictions of the model count again."""
    result = DismissedPhotos([], [], [], [])
    for page in pages(photo_ids):
        with database.write(dry_run=dry_run) as connection:
            changed = sorted(_compare_page(connection, page, result, away=False))
            if changed:
                count = delete_dismissals(connection, changed)
                record_action(
                    connection,
                    AuditAction.VERDICTS_WITHDRAW,
                    verdict=NOT_A_LANDMARK,
                    count=count,
                )
    return result


def _compare_page(
    connection: Connection, page: Sequence[int], result: DismissedPhotos, *, away: bool
) -> set[int]:
    # Sort photos by whether they have to be put away, or brought back. Returns the images of those.
    images = images_of(connection, page)
    content_ids = {*images.values()}
    dismissed = stored_dismissals(connection, content_ids).keys()
    confirmed = confirmed_contents(connection, content_ids) if away else set()
    changed = content_ids - dismissed - confirmed if away else content_ids & dismissed
    result.left_out += [number for number in page if number not in images]
    for number, image in images.items():
        unchanged = result.confirmed if image in confirmed else result.unchanged
        (result.changed if image in changed else unchanged).append(number)
    return changed


def photo_ids_at(
    database: Database, paths: Iterable[Path], root_paths: RootPaths
) -> list[int]:
    """The ids of stored photos.

    Raises:
        PhotoNotFound: the database does not have one of them.
    """
    with database.read() as connection:
        return [find_photo_id(connection, path, root_paths) for path in paths]


def images_of(connection: Connection, photo_ids: Sequence[int]) -> Mapping[int, int]:
    """The content ids of the photos that have one, in the order of the photos.

    Until the transaction ends, the contents stay, and others who decide about them wait.
    """
    query = select(photos.c.id, photos.c.content_id).where(
        among(photos.c.id, photo_ids), photos.c.content_id.is_not(None)
    )
    locked = {row.content_id for row in connection.execute(query)}
    lock_contents(connection, locked)
    rows = connection.execute(
        query.order_by(photos.c.id)
    )  # some may have gone meanwhile
    return {row.id: row.content_id for row in rows if row.content_id in locked}


@dataclass(frozen=True)
class StarredPhotos:
    """The effect on several photos, by id. `left_out`: photos whose image has not been read yet."""

    changed: list[int]
    left_out: list[int]


def star_photos(
    database: Database, photo_ids: Sequence[int], by: str | None, *, starred: bool
) -> StarredPhotos:
    """Give photos and their copies a star, or take it away; page by page."""
    result = StarredPhotos([], [])
    for page in pages(photo_ids):
        with database.write() as connection:
            images = images_of(connection, page)
            content_ids = sorted(set(images.values()))  # in one order: no deadlocks
            if starred:
                row = {"given_by": by, "given_at": datetime.now(UTC)}
                rows = [{"content_id": content_id, **row} for content_id in content_ids]
                insert_missing(connection, favourites, rows)
            else:
                connection.execute(
                    delete(favourites).where(favourites.c.content_id.in_(content_ids))
                )
            result.changed.extend(images)
            result.left_out.extend(number for number in page if number not in images)
    return result


PAGE = 250


@dataclass(frozen=True)
class VerdictFilter:
    """Which verdicts to list: of a kind, or `not-a-landmark`; of `photos`: area, folder, dates.

    Country and near are of the verdict's landmark, not of the photo: a verdict often moves the photo.
    """

    verdict: str | None = None
    by: str | None = None
    photos: PhotoQuery = field(default_factory=PhotoQuery)


@dataclass(frozen=True)
class ListedVerdict:
    """A verdict for people and other databases. `path` is one photo of the image; None: it has none now.

    A thing stands in place of a landmark as `thing:dog`, and a sight at which the photo was not taken as
    `sight:Louvre Museum`. A photo that was put away has the verdict
    `not-a-landmark`, and no landmark.
    """

    path: str | None
    landmark: str | None
    name: str | None
    verdict: str
    by: str | None
    at: datetime
    digest: str


def list_verdicts(
    database: Database,
    verdict_filter: VerdictFilter,
    root_paths: RootPaths | None = None,
) -> Iterator[ListedVerdict]:
    """Yield the matching verdicts on landmarks, things and sights, then the dismissed photos.

    Each kind is in the order in which images were added.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    tables: list[Table] = []
    if verdict_filter.verdict != NOT_A_LANDMARK:
        tables += VERDICT_TABLES.values()
    if verdict_filter.verdict in {None, NOT_A_LANDMARK}:
        tables.append(dismissals)
    with database.read() as connection:
        names = NameCache(connection, root_paths or {})
        things = all_things(connection)
        queries = [
            _select_rows(connection, table, verdict_filter, root_paths or {})
            for table in tables
        ]
    return chain.from_iterable(
        _listed(database, table, query, names, things)
        for table, query in zip(tables, queries, strict=True)
    )


def _listed(
    database: Database,
    table: Table,
    query: Select[Any],
    names: NameCache,
    things: Mapping[str, Thing],
) -> Iterator[ListedVerdict]:
    for rows in database.row_pages(query, *table.primary_key, size=PAGE):
        page = []
        with database.read() as connection:
            of_page = photos.c.id.in_(
                [row.photo_id for row in rows if row.photo_id is not None]
            )
            found = connection.execute(select_photos().where(of_page))
            paths = {row.id: names.path(connection, row) for row in found}
            for row in rows:
                slug = name = None
                if table is verdicts:
                    landmark = names.landmark(connection, row.landmark_id)
                    slug, name = landmark.slug, landmark.display_name
                elif table is thing_verdicts:
                    slug, name = PREFIX + row.thing, things[row.thing].display_name
                elif table is sight_verdicts:
                    slug, name = SIGHT_PREFIX + row.sight, row.sight
                page.append(
                    ListedVerdict(
                        path=paths.get(row.photo_id),
                        digest=row.digest,
                        landmark=slug,
                        name=name,
                        verdict=NOT_A_LANDMARK if slug is None else row.verdict,
                        by=row.given_by,
                        at=row.given_at,
                    )
                )
        yield from page


def _select_rows(
    connection: Connection,
    table: Table,
    verdict_filter: VerdictFilter,
    root_paths: RootPaths,
) -> Select[Any]:
    # A query for the rows of a table of verdicts, each with the digest and a photo of its image.
    of_files = replace(
        verdict_filter.photos,
        landmark=(),
        country=(),
        near=None,
        radius_km=None,
        box=None,
    )
    photo_conditions = tuple(
        ResolvedQuery.resolve(connection, of_files, root_paths).file_conditions()
    )
    of_image = photos.c.content_id == table.c.content_id
    photo_id = (
        select(photos.c.id)
        .where(of_image, *photo_conditions)
        .order_by(photos.c.gone_since.is_not(None), photos.c.id)
        .limit(1)
        .scalar_subquery()
    )
    query: Select[Any] = select(
        table, contents.c.digest, photo_id.label("photo_id")
    ).join(contents, contents.c.id == table.c.content_id)
    landmark_ids = matching_landmarks(connection, verdict_filter.photos)
    if table is not dismissals and verdict_filter.verdict is not None:
        query = query.where(table.c.verdict == verdict_filter.verdict)
    if landmark_ids is not None:
        query = query.where(
            among(verdicts.c.landmark_id, landmark_ids)
            if table is verdicts
            else false()
        )
    if verdict_filter.by is not None:
        query = query.where(table.c.given_by == verdict_filter.by)
    if photo_conditions:
        query = query.where(exists().where(of_image, *photo_conditions))
    return query


@dataclass(frozen=True)
class LabelledImage:
    """An image with at least one verdict; landmarks are slugs.

    `has_unreviewed_tag`: the image has an accepted tag without a verdict. `paths`: its photos that are not
    gone, those on available roots first, and files before objects in buckets. `is_unavailable`: all its
    photos are on unavailable roots.
    """

    digest: str
    confirmed: tuple[str, ...]
    rejected: tuple[str, ...]
    has_unreviewed_tag: bool
    paths: tuple[Path, ...]
    is_unavailable: bool


@contextmanager
def open_training_export(settings: Settings) -> Iterator[TrainingExport]:
    """Open the database of the settings for export.

    Raises:
        DatabaseUnavailable, SchemaOutdated: the database cannot be used.
    """
    database = open_database(settings.effective_database_url)
    try:
        yield TrainingExport(database, settings.roots)
    finally:
        database.close()


class TrainingExport:
    def __init__(self, database: Database, root_paths: RootPaths) -> None:
        self._database = database
        self._root_paths = root_paths
        self.redacted_url = database.redacted_url

    def landmarks(self) -> dict[str, Landmark]:
        """Every landmark, by its slug and by the slugs of landmarks that were merged into it."""
        with self._database.read() as connection:
            return {
                slug: landmark
                for landmark in all_landmarks(connection)
                for slug in landmark.all_slugs
            }

    def labels(self) -> dict[str, str]:
        """The label of each landmark, by slug: of the model in use, else of the newest model with one."""
        query = (
            select(model_labels.c.label, landmarks.c.slug)
            .join(models, models.c.id == model_labels.c.model_id)
            .join(landmarks, landmarks.c.id == model_labels.c.landmark_id)
            .order_by(models.c.in_use, models.c.registered_at, models.c.id)
        )
        return {row.slug: row.label for row in self._database.rows(query)}

    def images(self) -> Iterator[LabelledImage]:
        """Yield the images with verdicts in the order in which they were added, page by page."""
        slugs = {landmark.id: landmark.slug for landmark in self.landmarks().values()}
        with self._database.read() as connection:
            roots = {root.id: root for root in list_roots(connection, self._root_paths)}
            unavailable = unavailable_folders(connection, list(roots.values()))
            ids = connection.scalars(
                select(verdicts.c.content_id).distinct().order_by(verdicts.c.content_id)
            ).all()
        for page in pages(ids):
            with self._database.read() as connection:
                images = _images(connection, page, slugs, roots, unavailable)
            yield from images


def _images(
    connection: Connection,
    ids: Sequence[int],
    slugs: dict[int, str],
    roots: dict[int, Root],
    unavailable: Sequence[UnavailableFolder],
) -> list[LabelledImage]:
    digests = {
        row.id: row.digest
        for row in connection.execute(select(contents).where(contents.c.id.in_(ids)))
    }
    by_kind: dict[tuple[int, str], list[str]] = defaultdict(list)
    query = (
        select(verdicts)
        .where(verdicts.c.content_id.in_(ids))
        .order_by(verdicts.c.landmark_id)
    )
    for row in connection.execute(query):
        by_kind[row.content_id, row.verdict].append(slugs[row.landmark_id])
    tags = tag_rows(connection, ids)
    paths: dict[int, list[tuple[bool, int, Path]]] = defaultdict(list)
    present = select(photos).where(
        photos.c.content_id.in_(ids), photos.c.gone_since.is_(None)
    )
    for row in connection.execute(present.order_by(photos.c.id)):
        root = roots[row.root_id]
        is_away = any(each.has(row.root_id, row.path) for each in unavailable)
        # A source that serves many reads at a time answers each one late.
        path = root.path_of(row.path, row.path_bytes)
        paths[row.content_id].append((is_away, root.source.extra_reads, path))
    return [
        LabelledImage(
            digest=digests[content_id],
            confirmed=tuple(by_kind[content_id, VerdictKind.CONFIRMED]),
            rejected=tuple(by_kind[content_id, VerdictKind.REJECTED]),
            has_unreviewed_tag=any(
                tag.accepted and tag.verdict is None for tag in tags.get(content_id, ())
            ),
            paths=tuple(
                path for *_, path in sorted(paths[content_id], key=itemgetter(0, 1))
            ),
            is_unavailable=bool(paths[content_id])
            and all(is_away for is_away, *_ in paths[content_id]),
        )
        for content_id in ids
        if content_id in digests
    ]
