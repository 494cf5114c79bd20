"""What a scan would find, without recording it."""

from collections.abc import Iterator
from itertools import chain, groupby, islice
from typing import Any

from sqlalchemy import Row

from tagger.database.connection import Database
from tagger.jobs.enqueue.photo_rows import can_skip
from tagger.jobs.enqueue.scan import (
    PAGE,
    ScanReport,
    Selection,
    list_folder,
    unavailable_in,
    with_rows,
    without_problems,
)
from tagger.ledger.jobs import InferenceOptions
from tagger.photos.folders import FoundPhoto
from tagger.photos.names import OtherFiles, StemGroups, primary_files
from tagger.photos.source import find_named
from tagger.roots.roots import RootPaths


def preview_scan(
    database: Database, selection: Selection, inference: InferenceOptions, root_paths: RootPaths
) -> tuple[int, int, OtherFiles]:
    """How many photos a scan would find, how many a job would skip, and what is left out."""
    found = skipped = 0
    other_files = OtherFiles()
    entries = chain.from_iterable(_stored_pages(database, selection, inference, root_paths, other_files))
    groups = StemGroups[tuple[FoundPhoto, Row[Any] | None]](lambda entry: entry[0].location)
    for group in groups.of(entries):
        joined = primary_files([photo.location for photo, _ in group]) if database.raw_pairs else {}
        for photo, row in group:
            if photo.location not in joined:  # of a RAW file with a JPEG, the JPEG is the photo
                found += 1
                skipped += row is not None and can_skip(row, photo, inference)
    return found, skipped, other_files


def _stored_pages(
    database: Database,
    selection: Selection,
    inference: InferenceOptions,
    root_paths: RootPaths,
    other_files: OtherFiles,
) -> Iterator[list[tuple[FoundPhoto, Row[Any] | None]]]:
    """Pages of the photos that a scan would find, each with its row (see `photo_rows`), if it has one.

    Raises:
        PathNotFound: a folder does not exist.
    """
    named = without_problems(find_named(selection.files), ScanReport())
    files = ((photo.path.parent, photo) for photo in named)
    in_folders = (
        (folder, entry)
        for folder in selection.folders
        for entry in list_folder(folder, selection, other_files, unavailable_in(database, folder, root_paths))
        if isinstance(entry, FoundPhoto)
    )
    for folder, pairs in groupby(chain(in_folders, files), key=lambda pair: pair[0]):
        while page := [photo for _, photo in islice(pairs, PAGE)]:
            yield with_rows(database, folder, page, root_paths, inference)
