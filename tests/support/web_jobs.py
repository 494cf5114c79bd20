"""Jobs that tests start through the API and run in this process instead of in a worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from starlette.testclient import TestClient

from tagger.database.connection import Database
from tagger.database.tables import Runner, chunks
from tagger.enqueue.metadata_jobs import select_adopted_jobs
from tagger.ledger.chunks import ChunkName, claim_chunk
from tagger.processing.executor import ChunkExecutor
from tagger.settings import Settings


@dataclass(frozen=True)
class JobClient:
    """Starts jobs through the API and runs them."""

    client: TestClient
    database: Database
    settings: Settings

    def start(self, *paths: str | Path, status: int = 202, **fields: Any) -> Any:
        """Start a job over folders and return the response's document."""
        body = {"paths": [str(path) for path in paths], **fields}
        response = self.client.post("/api/jobs", json=body)
        assert response.status_code == status, response.text
        return response.json()

    def get(self, job: int) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get(f"/api/jobs/{job}").json()
        return document

    def run(self, job: int) -> dict[str, Any]:
        """Process all chunks of the job, as a worker does, and return the finished job."""
        select_adopted_jobs(self.database)
        executor = ChunkExecutor(self.database, self.settings)
        try:
            for chunk in self._chunks(job):
                claim = claim_chunk(self.database, ChunkName(job, chunk), Runner.WORKERS, "worker")
                assert claim is not None
                executor.execute(claim)
        finally:
            executor.close()
        document = self.get(job)
        assert document["state"] == "finished", document
        return document

    def _chunks(self, job: int) -> list[int]:
        query = select(chunks.c.chunk).where(chunks.c.job_id == job, chunks.c.done.is_(False))
        with self.database.read() as connection:
            return list(connection.scalars(query.order_by(chunks.c.chunk)))
