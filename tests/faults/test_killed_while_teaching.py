"""`tagger teach` is killed before a commit: the database is consistent, and the same command again gives what it would have given."""

import shutil
import signal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rig.ledger_invariants import library_violations
from sqlalchemy import select
from support.commands import Terminal
from support.teaching import draw_place, teachable_artifact

from tagger.database.tables import (
    classifiers,
    contents,
    landmarks,
    photos,
    positions,
    tags,
    taught_tags,
    verdicts,
)

CHURCH, BRIDGE = 0, 1
FACTS = {
    landmarks: ("slug", "name"),
    verdicts: ("content_id", "landmark_id", "verdict", "given_by"),
    classifiers: ("landmark_id", "model_id", "examples", "rejected", "evidence", "data", "applied"),
    taught_tags: ("content_id", "landmark_id", "score", "accepted", "doubtful"),
    tags: ("content_id", "landmark_id", "score", "rank", "accepted", "doubtful"),
    positions: ("photo_id", "latitude", "longitude", "source"),
    photos: ("id", "path", "content_id", "failure_kind"),
    contents: ("id", "digest", "outcome"),
}
"""What the command leads to, without times, and without numbers that each attempt raises."""


class Library:
    """Tagged photos of a church and a bridge, two of the church that are not tagged yet, and the command that teaches it."""

    def __init__(self, folder: Path) -> None:
        self.terminal = Terminal(folder, {"TAGGER_MODEL": str(folder / "teachable.pt")})
        teachable_artifact(folder / "teachable.pt")
        church = [
            draw_place(folder / "photos" / f"church-{seed}.jpg", CHURCH, seed=seed) for seed in range(6)
        ]
        bridges = [
            draw_place(folder / "photos" / f"bridge-{seed}.jpg", BRIDGE, seed=seed) for seed in range(3)
        ]
        new = [draw_place(folder / "new" / f"church-{seed}.jpg", CHURCH, seed=10 + seed) for seed in range(2)]
        self.terminal.run("tag", "photos")
        self.command = (
            *("teach", "Our church", *church[:2], *new, "--not", *bridges[:2], "--at", "51.05,13.74"),
        )
        self._tagged = folder / "tagged"
        shutil.copytree(self.terminal.data, self._tagged)

    def start_again(self) -> None:
        """Bring the state before the command back."""
        shutil.rmtree(self.terminal.data)
        shutil.copytree(self._tagged, self.terminal.data)

    def is_killed(self, commit: int) -> bool:
        """Run the command, and kill it before this commit. False if it made fewer."""
        self.terminal.inject(kill_at_commit=str(commit))
        code = self.terminal.start(*self.command).wait(timeout=120)
        assert code in {0, -signal.SIGKILL}, self.terminal.log.read_text()[-2000:]
        return code != 0

    def facts(self) -> dict[str, list[Any]]:
        with self.terminal.database() as database, database.read() as connection:
            return {
                table.name: connection.execute(
                    select(*(table.c[name] for name in names)).order_by(*table.primary_key.columns)
                ).all()
                for table, names in FACTS.items()
            }

    def assert_consistent(self) -> None:
        self.terminal.run("db", "check")
        with self.terminal.database() as database:
            assert library_violations(database) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_teaching_that_was_killed_before_any_commit_is_completed_by_the_same_command(
    tmp_path: Path,
) -> None:
    library = Library(tmp_path / "terminal")
    output = library.terminal.run(*library.command)
    undisturbed = library.facts()
    assert "learned from 4 photos and 2 rejected ones" in output.stdout
    for commit in count(1):
        library.start_again()
        if not library.is_killed(commit):
            assert commit > 20, "the command commits less often than expected; does the test still see it?"
            break
        library.assert_consistent()
        library.terminal.run(*library.command)
        assert library.facts() == undisturbed, f"killed before commit {commit}"
        library.assert_consistent()
