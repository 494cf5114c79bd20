"""Workers of the version before a schema step continue after it; processes of that version that start later are refused."""

from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw_many

from tagger.database import schema

PHOTOS = 10
STEP = (
    "ALTER TABLE photos ADD COLUMN later_fact TEXT",
    "ALTER TABLE jobs ADD COLUMN later_option INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE later_facts (id INTEGER PRIMARY KEY, content_id INTEGER REFERENCES contents (id))",
    "CREATE INDEX ix_photos_later_fact ON photos (later_fact)",
    "UPDATE alembic_version SET version_num = '9999'",
)
"""What the rule for migrations allows: new tables, new indexes, and new columns that are empty or have a default."""


@pytest.mark.slow
def test_running_workers_continue_after_a_schema_step(
    postgres_url: str, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(
        tmp_path / "home", {"TAGGER_DATABASE_URL": postgres_url, "TAGGER_REDIS_URL": redis_server.url}
    )
    draw_many(terminal.folder / "before", PHOTOS)
    draw_many(terminal.folder / "after", PHOTOS)
    terminal.environment["TAGGER_BATCH_SIZE"] = "1"
    terminal.inject(slow_pass_s="0.2", values="tagger.jobs.processing.classification_chunk.STORE_PHOTOS=1")
    with terminal.workers(1):
        job = int(terminal.run("enqueue", "before").stdout)
        terminal.wait_until(lambda: terminal.progress(job).done > 0)
        with closing(psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True)) as connection:
            for statement in STEP:
                connection.execute(statement.encode())
        refused = terminal.run_process("status", code=1)
        assert "newer" in refused.stderr
        # In this process the commands are those of the later version, as they expect its schema.
        monkeypatch.setattr(schema, "SCHEMA_REVISION", "9999")
        terminal.wait_until(lambda: terminal.progress(job).is_over)
        assert (terminal.progress(job).tagged, terminal.progress(job).failed) == (8, 0)
        assert terminal.json("enqueue", "--wait", "after", "--again")["tagged"] == 8
    assert terminal.active_workers() == []
