"""A folder of files with the names of photos, which is scanned as often as a test wants."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.jobs.enqueue.scan import Scan
from tagger.jobs.enqueue.selection import ScanReport, Selection, select_paths
from tagger.ledger import NewJob, finish_scan


class ScannedFolder:
    """`job` is that of the last scan, which stays open."""

    def __init__(self, database: Database, path: Path, *names: str) -> None:
        self.database = database
        self.ledger = LedgerBuilder(database)
        self.new = NewJob(self.ledger.model_id, 5, 0.5)
        self.path = path
        self.job = 0
        for name in names:
            self.file(name)

    def file(self, name: str | bytes, size: int = 5) -> Path:
        path = self.path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        return path

    def scan(self, *paths: Path, **patterns: Any) -> ScanReport:
        self.job = self.ledger.scanning()
        report = self.run(self.job, select_paths(paths or [self.path], **patterns))
        finish_scan(self.database, self.job)
        return report

    def run(
        self,
        job: int,
        selection: Selection,
        on_found: Callable[[int], None] = lambda _count: None,
        database: Database | None = None,
    ) -> ScanReport:
        return Scan(database or self.database, job, self.new, {}, on_found).run(selection)

    def counts(self, *paths: Path, **patterns: Any) -> tuple[int, int, int, int]:
        """How many photos a scan finds, and how many of them are new, changed and gone."""
        report = self.scan(*paths, **patterns)
        of_others = report.in_other_jobs.total()
        assert self.ledger.progress(self.job).total + of_others == report.found
        return report.found, report.new, report.changed, report.gone

    def gone(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.scalars(select(photos.c.path).where(photos.c.gone_since.is_not(None))))
