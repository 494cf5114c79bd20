"""Workers locate photos once their job has finished, without a command."""

from pathlib import Path

import pytest
from rig.servers import RedisServer
from sqlalchemy import select
from support.commands import Terminal, draw

from tagger.database.tables import positions


@pytest.mark.slow
def test_photos_of_a_finished_job_are_located(
    tmp_path: Path, redis_server: RedisServer, database_url: str
) -> None:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": database_url}
    terminal = Terminal(tmp_path / "terminal", settings)
    draw(terminal.folder / "photos/tower.jpg", 0)

    def sources() -> list[str]:
        with terminal.database() as database, database.read() as connection:
            return list(connection.scalars(select(positions.c.source)))

    terminal.inject(values="worker.sweeper.SWEEP_S=1")
    with terminal.workers(1):
        terminal.run("enqueue", "photos", "--wait")
        terminal.wait_until(lambda: sources() == ["landmark"])
