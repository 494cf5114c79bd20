"""Packs in a library: making one of what is taught here, adding one of somebody else's, and removing it with all its tags.

A pack's directions become classifiers beside those that verdicts teach, calibrated with the library's own photos.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, insert, select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import TagState
from tagger.database.statements import among, lock_tables
from tagger.database.tables import classifiers, effective_tags, landmarks, models, packs, taught_tags
from tagger.errors import PackEmpty, PackExists, PackNotFound
from tagger.library.catalog.landmark_removal import remove_unused_landmarks
from tagger.library.catalog.landmarks import (
    REACHES_KM,
    UNKNOWN_EXTENT,
    Landmark,
    familiar_landmarks,
    find_landmark,
    landmarks_that_may_have,
    normalize_name,
)
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.library.teaching.classifiers import calibrate
from tagger.library.teaching.comparison import (
    Progress,
    compare_again,
    compare_all,
    delete_taught_tags,
    next_version,
)
from tagger.library.teaching.learning import Learner, changed_landmarks, embedding_of, taught_state
from tagger.library.teaching.pack_file import (
    Pack,
    PackedLandmark,
    PackEmbedding,
    PackManifest,
    Signature,
    encode_pack,
)
from tagger.model.artifact import LandmarkFacts
from tagger.system.documents import document_of
from tagger.system.geo import distance_km
from tagger.system.names import MAX_ALIASES
from tagger.system.text_format import gettext


@dataclass(frozen=True)
class CreatedPack:
    """A pack's manifest and its file. `single`: the slugs of landmarks that are left out because one photo taught them."""

    manifest: PackManifest
    data: bytes
    single: Sequence[str]


def create_pack(
    database: Database,
    model: RegisteredModel,
    name: str,
    landmark_names: Sequence[str],
    words: Mapping[str, Any],
    *,
    with_single: bool = False,
) -> CreatedPack:
    """Make a pack of these landmarks, or of all that are taught here.

    `name` is the pack's, a slug; `words` are the author's, fields of `PackManifest`. A direction that one photo has taught says as much of
    the photo as its embedding: such a landmark is left out unless `with_single`.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as `find_landmark`.
        PackEmpty: nothing is taught that may be in it.
    """
    with database.read() as connection:
        chosen = [find_landmark(connection, each) for each in landmark_names]
        chosen = chosen or familiar_landmarks(connection)
    learner = Learner(database, model)
    directions = learner.directions([each.id for each in chosen])
    single = [each.slug for each in chosen if each.id in directions and directions[each.id].examples == 1]
    packed = [each for each in chosen if each.id in directions and (with_single or each.slug not in single)]
    if not packed:
        raise PackEmpty(reason="one photo has taught each" if single else "none is taught here")
    facts, rule = LandmarkFacts.model_fields, embedding_of(model)
    embedding = PackEmbedding(
        digest=model.digest, model=model.name, layer=rule.layer, dimension=rule.dimension
    )
    manifest = PackManifest(
        name=name,
        embedding=embedding,
        landmarks=tuple(
            PackedLandmark(
                **{field: getattr(each, field) for field in facts if field != "aliases"},
                aliases=tuple(each.aliases[:MAX_ALIASES]),
                examples=directions[each.id].examples,
                expected=max(directions[each.id].expected, 0.0),
                precision=taught_state(database, model, each).precision,
            )
            for each in packed
        ),
        **words,
    )
    data = encode_pack(manifest, [directions[each.id] for each in packed])
    return CreatedPack(manifest, data, [] if with_single else single)


@dataclass(frozen=True)
class PackLandmarkPlan:
    """What becomes of a landmark of a pack: the library's `landmark` that it is joined with (None: it is new), under this slug.

    `reason`: why it is joined, or why it is new under another slug than the pack's.
    """

    packed: PackedLandmark
    slug: str
    landmark: Landmark | None
    reason: str | None


def plan_pack(database: Database, model: RegisteredModel, pack: Pack) -> list[PackLandmarkPlan]:
    """What adding the pack does with its landmarks, in their order.

    Raises:
        PackRefused: the pack is for another model.
        PackExists: one with its name was added, unless it is this one and its comparison was interrupted.
    """
    with database.read() as connection:
        return _plan(connection, model, pack)


def _plan(connection: Connection, model: RegisteredModel, pack: Pack) -> list[PackLandmarkPlan]:
    made_for = pack.manifest.embedding
    if made_for.digest != model.digest or made_for.dimension != embedding_of(model).dimension:
        reason = f"it is made for the model {made_for.model} ({made_for.digest[:12]}), and {model.name} ({model.digest[:12]}) is in use"
        raise pack.refusal(reason, "put its model in use with `tagger model use`, or get a pack for yours")
    own = _landmarks_of_interrupted(connection, pack)
    names = [
        text
        for each in pack.manifest.landmarks
        for text in (each.slug, each.name, *each.names.values(), *each.aliases)
    ]
    names += [f"{each.slug}-{number}" for each in pack.manifest.landmarks for number in range(2, 10)]
    every = [each for each in landmarks_that_may_have(connection, names) if each.slug not in own]
    return _Joiner(every).plan(pack.manifest.landmarks)


def _landmarks_of_interrupted(connection: Connection, pack: Pack) -> Collection[str]:
    """The slugs of the landmarks that came with this pack before adding it was interrupted.

    Raises:
        PackExists: a pack with its name was added.
    """
    row = connection.execute(select(packs).where(packs.c.name == pack.manifest.name)).one_or_none()
    if row is None:
        return ()
    unapplied = select(classifiers.c.pack).where(classifiers.c.pack == row.name, ~classifiers.c.applied)
    if row.digest != pack.digest or connection.execute(unapplied.limit(1)).first() is None:
        raise PackExists(name=row.name)
    return list(row.added_landmarks)


class _Joiner:
    """Finds the landmark of the library that each of a pack's is: by slug and position, or by name and position."""

    def __init__(self, every: Sequence[Landmark]) -> None:
        self._slugs = {slug: each for each in every for slug in each.all_slugs}
        self._names: dict[str, list[Landmark]] = {}
        for each in every:
            for name in {*map(normalize_name, each.all_names)}:
                self._names.setdefault(name, []).append(each)
        self._joined = set[int]()
        self._used = set(self._slugs)

    def plan(self, packed: Sequence[PackedLandmark]) -> list[PackLandmarkPlan]:
        self._used |= {each.slug for each in packed}
        plans = {each.slug: plan for each in packed if (plan := self._by_slug(each))}
        plans |= {each.slug: self._by_name(each) for each in packed if each.slug not in plans}
        return [plans[each.slug] for each in packed]

    def _by_slug(self, packed: PackedLandmark) -> PackLandmarkPlan | None:
        found = self._slugs.get(packed.slug)
        if found is None or found.id in self._joined or _is_near(packed, found) is False:
            return None
        return self._join(packed, found, gettext("it has the same slug"))

    def _by_name(self, packed: PackedLandmark) -> PackLandmarkPlan:
        names = {*map(normalize_name, (packed.name, *packed.names.values(), *packed.aliases))}
        same = {each.id: each for name in names for each in self._names.get(name, ())}
        near = [each for each in same.values() if each.id not in self._joined and _is_near(packed, each)]
        if len(near) == 1:
            return self._join(packed, near[0], gettext("it has the same name, and is at the same place"))
        if packed.slug not in self._slugs:
            return PackLandmarkPlan(packed, packed.slug, None, None)
        other = self._slugs[packed.slug].display_name
        reason = gettext(
            "the slug %(slug)s belongs to %(name)s, another landmark", slug=packed.slug, name=other
        )
        return PackLandmarkPlan(packed, self._free_slug(packed.slug), None, reason)

    def _join(self, packed: PackedLandmark, found: Landmark, reason: str) -> PackLandmarkPlan:
        self._joined.add(found.id)
        return PackLandmarkPlan(packed, found.slug, found, reason)

    def _free_slug(self, slug: str) -> str:
        number = 2
        while (free := f"{slug}-{number}") in self._used:
            number += 1
        self._used.add(free)
        return free


def _is_near(packed: PackedLandmark, landmark: Landmark) -> bool | None:
    """Whether both are at the same place, as far as that can be said of their extents; None: a position is missing."""
    positions = (packed.latitude, packed.longitude, landmark.latitude, landmark.longitude)
    if None in positions:
        return None
    reach = max(REACHES_KM[each.extent or UNKNOWN_EXTENT][1] for each in (packed, landmark))
    return distance_km(*positions) <= reach  # type: ignore[arg-type]


def add_pack(
    database: Database,
    model: RegisteredModel,
    pack: Pack,
    on_progress: Progress = lambda _count: None,
) -> tuple[list[PackLandmarkPlan], int]:
    """Add a pack, and compare all stored embeddings with it. Returns what became of its landmarks, and how many images were compared.

    If that was interrupted, it is completed.

    Raises:
        PackRefused, PackExists: as `store_pack`.
    """
    plans = store_pack(database, model, pack)
    return plans, compare_all(database, model.id, on_progress)


def store_pack(database: Database, model: RegisteredModel, pack: Pack) -> list[PackLandmarkPlan]:
    """Add a pack, and leave it to the next comparison to find its landmarks. Returns what became of them.

    Raises:
        PackRefused, PackExists: as `plan_pack`; or the pack's numbers are forged.
    """
    plan_pack(database, model, pack)
    learner = Learner(database, model)
    sample = learner.library_sample()
    try:
        learned = [calibrate(each, sample) for each in pack.directions_in(learner.space)]
    except ValueError as error:
        raise pack.refusal(f"nothing can be found with its numbers ({error})") from error
    with database.write() as connection:
        lock_tables(connection, models, landmarks)  # first, as in a merge of landmarks
        plans = _plan(connection, model, pack)
        if connection.scalar(select(packs.c.name).where(packs.c.name == pack.manifest.name)) is not None:
            return plans  # the comparison was interrupted
        added = [_row(plan.packed, plan.slug) for plan in plans if plan.landmark is None]
        if added:
            connection.execute(insert(landmarks), added)
        ids = {row.slug: row.id for row in connection.execute(select(landmarks.c.slug, landmarks.c.id))}
        now = datetime.now(UTC)
        manifest = pack.manifest
        connection.execute(
            insert(packs).values(
                name=manifest.name,
                digest=pack.digest,
                model_id=model.id,
                manifest=manifest.model_dump(mode="json"),
                added_landmarks=[row["slug"] for row in added],
                added_at=now,
            )
        )
        row: dict[str, Any] = {
            "model_id": model.id,
            "pack": manifest.name,
            "version": next_version(connection, model.id),
            "rejected": 0,
            "evidence": pack.digest,
            "applied": False,
            "learned_at": now,
        }
        rows = [
            row
            | {
                "landmark_id": ids[plan.slug],
                "examples": plan.packed.examples,
                "data": classifier.to_bytes(),
            }
            for plan, classifier in zip(plans, learned, strict=True)
        ]
        connection.execute(insert(classifiers), rows)
        signer = pack.signature.signer or pack.signature.key
        facts = {"digest": pack.digest, "landmarks": len(rows), "signed_by": signer}
        record_action(connection, AuditAction.PACK_ADD, manifest.name, **facts)
    return plans


def _row(packed: PackedLandmark, slug: str) -> dict[str, Any]:
    """A new landmark. Models may still correct its facts."""
    return packed.model_dump(include={*LandmarkFacts.model_fields}) | {"slug": slug}


@dataclass(frozen=True)
class AddedPack:
    """A pack of the library. `tagged` and `suggested`: the images without a verdict that have one of its landmarks from the pack itself."""

    name: str
    digest: str
    added_at: datetime
    manifest: PackManifest
    slugs: Sequence[str]
    tagged: int
    suggested: int


def list_packs(database: Database) -> list[AddedPack]:
    """The packs that were added, by name."""
    with database.read() as connection:
        rows = connection.execute(select(packs).order_by(packs.c.name)).all()
        return [_added(connection, row) for row in rows]


def find_pack(database: Database, name: str) -> AddedPack:
    """Raises:
    PackNotFound: no pack with that name was added.
    """
    with database.read() as connection:
        return _added(connection, _row_of(connection, name))


def _row_of(connection: Connection, name: str) -> Row[Any]:
    row = connection.execute(select(packs).where(packs.c.name == name)).one_or_none()
    if row is None:
        raise PackNotFound(name=name)
    return row


def _added(connection: Connection, row: Row[Any]) -> AddedPack:
    of_pack = select(classifiers.c.landmark_id).where(classifiers.c.pack == row.name)
    numbers = (
        select(effective_tags.c.state, func.count().label("images"))
        .where(effective_tags.c.landmark_id.in_(of_pack), effective_tags.c.pack == row.name)
        .group_by(effective_tags.c.state)
    )
    counts: dict[str, int] = {row.state: row.images for row in connection.execute(numbers)}
    slugs = select(landmarks.c.slug).where(landmarks.c.id.in_(of_pack)).order_by(landmarks.c.slug)
    return document_of(
        AddedPack,
        row,
        manifest=PackManifest.model_validate_json(json.dumps(row.manifest)),
        slugs=connection.scalars(slugs).all(),
        tagged=counts.get(TagState.ACCEPTED, 0),
        suggested=counts.get(TagState.SUGGESTED, 0),
    )


def remove_pack(database: Database, name: str, on_progress: Progress = lambda _count: None) -> AddedPack:
    """Remove a pack with its tags, and the landmarks that came with it and that nothing else names. Verdicts stay.

    Its name goes last: if the removal is interrupted, it is completed by the next one. Returns the pack as it was.

    Raises:
        PackNotFound: no pack with that name was added.
    """
    pack = find_pack(database, name)
    of_pack = classifiers.c.pack == name
    with database.write() as connection:
        lock_tables(connection, models)
        row = _row_of(connection, name)
        version = next_version(connection, row.model_id)
        ids = connection.scalars(select(classifiers.c.landmark_id).where(of_pack)).all()
        connection.execute(delete(classifiers).where(of_pack))
        delete_taught_tags(connection, among(taught_tags.c.landmark_id, ids), taught_tags.c.pack == name)
        compare_again(connection, row.model_id, version, ids)
    compare_all(database, row.model_id, on_progress)
    with database.write() as connection:
        lock_tables(connection, models)
        if connection.execute(delete(packs).where(packs.c.name == name)).rowcount:
            remove_unused_landmarks(connection, set(row.added_landmarks))
            record_action(connection, AuditAction.PACK_REMOVE, name, digest=row.digest)
    return pack


@dataclass(frozen=True)
class Unfinished:
    """What interrupted commands have left, or is in progress.

    `added`, `removed`: packs that not all photos were compared with, and those without a landmark. `landmarks`: those taught here that were
    not learned from all verdicts, or that not all photos were compared with.
    """

    added: Sequence[str]
    removed: Sequence[str]
    landmarks: Sequence[str]


def find_unfinished(database: Database, model_id: int, *, is_taught: bool = True) -> Unfinished:
    """What is unfinished of a model. `is_taught`: new verdicts teach it."""
    has_classifiers = exists().where(classifiers.c.pack == packs.c.name)
    with database.read() as connection:
        of_model = classifiers.c.model_id == model_id, ~classifiers.c.applied
        removed = select(packs.c.name).where(packs.c.model_id == model_id, ~has_classifiers)
        rows = connection.execute(
            select(classifiers.c.pack, classifiers.c.landmark_id).where(*of_model)
        ).all()
        changed = changed_landmarks(connection, model_id) if is_taught else frozenset()
        ids = changed | {row.landmark_id for row in rows if not row.pack}
        slugs = select(landmarks.c.slug).where(among(landmarks.c.id, ids)).order_by(landmarks.c.slug)
        return Unfinished(
            sorted({row.pack for row in rows if row.pack}),
            connection.scalars(removed.order_by(packs.c.name)).all(),
            connection.scalars(slugs).all(),
        )


@dataclass(frozen=True)
class PackDocument:
    """What a pack says of itself."""

    pack: str
    format: int
    author: str
    licence: str
    about: str
    embedding: PackEmbedding
    landmarks: Sequence[PackedLandmark]


@dataclass(frozen=True)
class AddedPackDocument(PackDocument):
    """A pack of the library. `added_as`: its landmarks' slugs here; `tagged` and `suggested`: see `AddedPack`."""

    digest: str
    added_at: datetime
    added_as: Sequence[str]
    tagged: int
    suggested: int


@dataclass(frozen=True)
class RemovedPackDocument(AddedPackDocument):
    """A removed pack as it was."""

    dry_run: bool


@dataclass(frozen=True)
class PlannedLandmarkDocument:
    """What becomes of a landmark of a pack (`in_pack`): the library's `landmark`, a `new` one or one that it is joined with, and why."""

    landmark: str
    name: str
    in_pack: str
    new: bool
    reason: str | None


@dataclass(frozen=True)
class PackPlanDocument:
    """What adding a pack does, whose signature it has, and what to know of it before."""

    pack: str
    landmarks: Sequence[PlannedLandmarkDocument]
    signature: Signature
    warnings: Sequence[str]
    dry_run: bool


def pack_document(manifest: PackManifest) -> PackDocument:
    """What a pack says of itself."""
    return PackDocument(pack=manifest.name, **manifest.model_dump(mode="json", exclude={"name"}))


def added_pack_document(pack: AddedPack) -> AddedPackDocument:
    """A pack of the library."""
    manifest = vars(pack_document(pack.manifest))
    return document_of(AddedPackDocument, pack, **manifest, added_as=pack.slugs)


def removed_pack_document(pack: AddedPack, *, dry_run: bool) -> RemovedPackDocument:
    """A removed pack as it was."""
    return RemovedPackDocument(**vars(added_pack_document(pack)), dry_run=dry_run)


def pack_plan_document(pack: Pack, plans: Sequence[PackLandmarkPlan], *, dry_run: bool) -> PackPlanDocument:
    """What adding a pack does."""
    landmarks = [
        PlannedLandmarkDocument(
            plan.slug, plan.packed.name, plan.packed.slug, plan.landmark is None, plan.reason
        )
        for plan in plans
    ]
    return document_of(PackPlanDocument, pack, pack=pack.manifest.name, landmarks=landmarks, dry_run=dry_run)
