"""Jobs that tests start through the API and run in this process instead of in a worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient
from support.job_runs import process_job

from tagger.database.connection import Database
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
        process_job(self.database, self.settings, job)
        document = self.get(job)
        assert document["state"] == "finished", document
        return document
