"""A folder of photos with RAW files and JPEGs, tagged and written in this process."""

import io
from pathlib import Path

from PIL import Image
from rig.raw_files import RawContent, raw_file
from sqlalchemy import select
from support.artifacts import colour_of
from support.databases import read_rows
from support.written_folder import WrittenFolder

from tagger.database.tables import photos
from tagger.jobs.enqueue.selection import Selection, scan_watched
from tagger.ledger import InferenceOptions
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery


class PairFolder(WrittenFolder):
    """A folder with RAW files and JPEGs. A RAW file's preview has the colour of a label, as a JPEG does."""

    def draw_raw(self, name: str, label: int = 0, *, shade: int = 0) -> Path:
        preview = io.BytesIO()
        Image.new("RGB", (480, 320), colour_of(label)).save(preview, "JPEG", quality=90)
        previews = (preview.getvalue(),) * 3
        raw = RawContent(*previews, bytes([shade]) * 4096, has_gps=False)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw_file("dng", raw))
        return path

    def unseen(self) -> list[str]:
        inference = InferenceOptions(self.model.id, 3, 0.5, reprocess=False)
        unseen, _ = scan_watched(self.database, Selection((self.folder,), ()), inference, {})
        return [path.name for path in unseen.files]

    def primary_files(self) -> dict[str, str]:
        """The file that stands for each RAW file that is joined with one."""
        primary = photos.alias()
        query = select(photos.c.path, primary.c.path.label("primary")).join(
            primary, primary.c.id == photos.c.primary_id
        )
        return {row.path: row.primary for row in read_rows(self.database, query)}

    def found(self, **options: object) -> dict[str, list[str]]:
        """The landmarks of the photos that a query finds, by name."""
        photos_found = find_tagged(self.database, PhotoQuery(**options))
        names = [(str(Path(photo.path).relative_to(self.folder)), photo) for photo in photos_found]
        assert len(names) == len(dict(names))
        return {name: [tag.landmark for tag in photo.tags] for name, photo in names}

    def verdicts_of(self, name: str) -> set[tuple[str, str]]:
        details = photo_details(self.database, self.folder / name)
        return {(verdict.landmark, verdict.verdict) for verdict in details.verdicts}
