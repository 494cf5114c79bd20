"""Several writers of one SQLite file: whoever waits is next, although another one writes page after page."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tagger.database.connection import Database, open_database

BUSY = """
import sys, time
from itertools import count
from tagger.database.connection import open_database
database = open_database(sys.argv[1])
for number in count(1):
    with database.write() as connection:
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")
        time.sleep(0.05)
    print(number, flush=True)
"""


def pages_written(database: Database) -> int:
    with database.read() as connection:
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def test_a_writer_waits_for_a_page_of_another_process_and_not_for_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/library.sqlite"
    with (
        closing(open_database(url)) as database,
        subprocess.Popen([sys.executable, "-c", BUSY, url], stdout=subprocess.PIPE, text=True) as busy,
    ):
        assert busy.stdout is not None
        busy.stdout.readline()
        before = pages_written(database)
        for _ in range(10):
            with database.write():
                pass
        waited_for = pages_written(database) - before
        busy.kill()
    assert waited_for <= 25
