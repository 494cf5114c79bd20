"""What a transaction for writing changes of the causes by which landmarks of images are decided: predictions, taught tags, verdicts.

Whoever changes them registers the images first, and hands over the function that decides about these before the transaction commits
(see `begin_change` in tags.settlement). Without that, a statement on one of these tables fails.
"""

import re
from collections.abc import Callable, Collection

from sqlalchemy import Connection

from tagger.database.tables import classifications, dismissals, tags, taught_tags, verdicts

CHANGES = "tagger_changes"
"""The execution option of a connection for writing that has its `Changes`."""
_CAUSES = {table.name for table in (tags, taught_tags, verdicts, dismissals, classifications)}
_DECISIONS = {verdicts.name, dismissals.name}
_CHANGED = re.compile(
    r"""\b(?:(?:INSERT(?:\s+OR\s+\w+)?|REPLACE|MERGE)\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+
        (?:ONLY\s+)?(?:"?\w+"?\s*\.\s*)?"?(\w+)""",
    re.IGNORECASE | re.VERBOSE,
)
"""The tables that a statement changes, also after WITH."""


class Changes:
    """The images that one transaction has changed and not decided about yet. `has_decisions`: people's verdicts or dismissals changed."""

    def __init__(self) -> None:
        self.content_ids: set[int] = set()
        self.has_decisions = False
        self._settle: Callable[[Connection, Collection[int]], object] | None = None

    def begin(
        self, content_ids: Collection[int], settle: Callable[[Connection, Collection[int]], object]
    ) -> None:
        """Register images before their causes change."""
        self.content_ids.update(content_ids)
        self._settle = settle

    def end(self, content_ids: Collection[int]) -> None:
        """These images are decided about. A later change of them has to be registered again."""
        self.content_ids.difference_update(content_ids)
        if not self.content_ids:
            self._settle = None

    def settle(self, connection: Connection) -> None:
        """Decide about the images that are left."""
        if self._settle is not None:
            self._settle(connection, self.content_ids)

    def require(self, table: str) -> None:
        """Check that a statement may change a table.

        Raises:
            RuntimeError: it has causes, and nobody has registered images.
        """
        if table in _CAUSES and self._settle is None:
            raise RuntimeError(f"a change of {table} was not begun: call begin_change with its images first")
        self.has_decisions |= table in _DECISIONS


def changes_of(connection: Connection) -> Changes:
    """The changes of the transaction of a connection of `Database.write()`."""
    changes: Changes = connection.get_execution_options()[CHANGES]
    return changes


def require_change(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
    """Refuse statements that change causes of unregistered images. A listener of SQLAlchemy's event `before_cursor_execute`."""
    changes: Changes | None = connection.get_execution_options().get(CHANGES)
    if changes is not None:
        for table in _CHANGED.findall(statement):
            changes.require(table.lower())
