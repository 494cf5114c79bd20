"""The JSON documents of packs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tagger.library.teaching.pack_file import Pack, PackedLandmark, PackEmbedding, PackManifest
from tagger.library.teaching.pack_signatures import Signature
from tagger.library.teaching.packs import AddedPack, PackLandmarkPlan
from tagger.system.documents import document_of


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
