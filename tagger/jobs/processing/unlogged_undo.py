"""Undo of copies and of files without a record, by the values that our namespace in their XMP names."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy import select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Target
from tagger.database.tables import photos
from tagger.errors import PhotoFailed
from tagger.jobs.processing.metadata_preview import (
    MetadataPreview,
    find_writes,
    preview_of,
)
from tagger.jobs.processing.undo_log import delete_undone, find_jobs, find_undo_record
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.photo_fields import xmp_packet
from tagger.metadata.photo_files import is_sidecar_name
from tagger.metadata.photo_writer import WriteRequest, describe_result, prepare_photo
from tagger.metadata.restored_files import digest_file
from tagger.metadata.temporary_files import remove_leftovers
from tagger.metadata.xmp import has_our_fields, names_our_namespace
from tagger.photos.buckets import is_object
from tagger.photos.paths import ObjectPath, folded_name, path_text
from tagger.photos.photo_names import extension_of, is_photo_name
from tagger.photos.program_folders import find_program_folder
from tagger.photos.side_files import SIDECAR_MAX_BYTES
from tagger.photos.source import read_named
from tagger.roots.roots import RootPaths, list_roots
from tagger.settings import Settings

PAGE = 500
HEAD_BYTES = 2**20
"""Where our XMP is in a JPEG: before the image, whose bytes are not read."""


def preview_unlogged_undo(
    database: Database, settings: Settings, paths: Iterable[Path]
) -> Iterator[MetadataPreview]:
    """Preview an undo in each of these files that no job would process; folders have `FoundValues`."""
    for path in paths:
        if _is_file(path) and not find_writes(database, path, settings.roots):
            yield _preview_undo(database, settings, path)


class FoundValues:
    """Files below folders that hold our values and that no job processes; of `job`, or of all jobs.

    Folders of other programs below them are left out: libraries, snapshots, trash.
    Before the jobs, `copies` are undone, whose content the undo log knows from another place. `left` is what
    it does not know, and what stands beside stored photos: a new sidecar is the same for each photo of a
    landmark, so another library may have written it.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        folders: Collection[Path],
        job: int | None = None,
        *,
        dry_run: bool,
    ) -> None:
        self.folders = folders
        self._database = database
        self._settings = settings
        self._job = job
        self._dry_run = dry_run
        self._unknown: list[Path] = []

    def copies(self) -> Iterator[MetadataPreview]:
        """Preview an undo of each copy of a written file."""
        for folder in self.folders:
            for path, is_stored in self._files(folder):
                if not self._holds_our_values(path):
                    continue
                data = _read(path, self._settings.max_bytes)
                jobs = find_jobs(self._database, path, digest_file(data or b""), self._settings.roots)
                if jobs is None or (jobs and is_stored):
                    self._unknown.append(path)
                elif self._job in jobs if self._job is not None else jobs:
                    yield self._preview(path)

    def left(self) -> Iterator[MetadataPreview]:
        """Preview an undo of each file that the undo log does not know and that holds our values still."""
        for path in self._unknown:
            if self._holds_our_values(path):
                yield self._preview(path)

    def _preview(self, path: Path) -> MetadataPreview:
        return _preview_undo(self._database, self._settings, path)

    def _files(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        """The sidecars and photos below a folder, and whether they are of stored photos."""
        if isinstance(folder, ObjectPath):
            return
        for parent, folders, names in os.walk(folder.resolve()):
            folders[:] = sorted(
                name for name in folders if not find_program_folder(f"{parent}/{name}", os.path.lexists)
            )
            if not self._dry_run:
                with suppress(WriteRefused, WriteFailed):  # its photos report the same error
                    remove_leftovers(Path(parent), folder.resolve())
            photo_names = sorted(filter(is_photo_name, names))
            stored = self._stored_photos(Path(parent), photo_names)
            yield from ((Path(parent, name), name in stored) for name in photo_names)
            with_sidecars = {folded_name(base) for name in stored for base in (name, Path(name).stem)}
            for name in sorted(filter(is_sidecar_name, names)):
                yield Path(parent, name), folded_name(Path(name).stem) in with_sidecars

    def _stored_photos(self, folder: Path, names: Sequence[str]) -> set[str]:
        with self._database.read() as connection:
            all_roots = list_roots(connection, self._settings.roots)
            found = ((root, root.folder.resolve()) for root in all_roots if not root.is_bucket)
            root, place = next((each for each in found if folder.is_relative_to(each[1])), (None, folder))
            if root is None:
                return set()
            relative = folder.relative_to(place)
            stored: set[str] = set()
            for start in range(0, len(names), PAGE):
                page = names[start : start + PAGE]
                paths = {path_text(str(relative / name))[0]: name for name in page}
                is_stored = (
                    photos.c.root_id == root.id,
                    photos.c.path.in_(paths),
                    photos.c.gone_since.is_(None),
                )
                stored |= {
                    paths[path] for path in connection.scalars(select(photos.c.path).where(*is_stored))
                }
            return stored

    def _holds_our_values(self, path: Path) -> bool:
        if path.is_symlink() or not path.is_file():
            return False
        if is_sidecar_name(path.name):
            return names_our_namespace(_read(path, SIDECAR_MAX_BYTES))
        if extension_of(path.name) in (".jpg", ".jpeg", ".jpe"):
            return names_our_namespace(_head(path))
        with suppress(WriteRefused):
            return has_our_fields(xmp_packet(_read(path, self._settings.max_bytes) or b""))
        return False


def undo_unlogged(
    database: Database, previews: Iterable[MetadataPreview], root_paths: RootPaths
) -> Iterator[tuple[Path, str, bool]]:
    """Carry out undos; yield the path, the result in words, and whether everything could be undone.

    Rows of the undo log are deleted at the end: that of a forgotten photo restores each copy of it.
    """
    undone: list[tuple[Path, str]] = []
    try:
        for preview in previews:
            text, is_complete = _undo(database, preview, undone)
            yield preview.path, text, is_complete
    finally:
        for path, written_digest in undone:
            delete_undone(database, path, written_digest, root_paths)


def _undo(database: Database, preview: MetadataPreview, undone: list[tuple[Path, str]]) -> tuple[str, bool]:
    """Carry out one undo, and add the files with their digests before to those `undone`."""
    if preview.plan is None:
        return f"unchanged: {preview.problem}", False
    try:
        photo = prepare_photo(preview.plan)
        photo.replace_files()
    except (WriteRefused, WriteFailed) as problem:
        return f"unchanged: {problem}", False
    originals = (file.original for file in photo.replaced)
    undone += [(each.path, digest_file(each.data)) for each in originals if each.data is not None]
    if photo.replaced:
        with database.write() as connection:
            record_action(connection, AuditAction.METADATA_UNDO, preview.path)
    return describe_result(photo), preview.plan.refusal_kind is None


def _preview_undo(database: Database, settings: Settings, path: Path) -> MetadataPreview:
    in_photo = not is_sidecar_name(path.name) and _may_hold_our_values(path, settings.max_bytes)
    targets = frozenset(Target) if in_photo else frozenset({Target.SIDECAR})
    request = WriteRequest(path, path.parent, settings.max_bytes, targets)
    return preview_of(request, partial(find_undo_record, database, None))


def _head(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return None


def _read(path: Path, max_bytes: int) -> bytes | None:
    try:
        return read_named(path, max_bytes=max_bytes).data
    except PhotoFailed:
        return None


def _is_file(path: Path) -> bool:
    return is_object(path) if isinstance(path, ObjectPath) else path.is_file()


def _may_hold_our_values(path: Path, max_bytes: int) -> bool:
    """Whether the photo's own file holds our values, or cannot be read, which planning reports."""
    try:
        return isinstance(path, ObjectPath) or has_our_fields(
            xmp_packet(read_named(path, max_bytes=max_bytes).data)
        )
    except (PhotoFailed, WriteRefused):
        return True
