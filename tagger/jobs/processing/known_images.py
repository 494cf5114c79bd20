"""Which models have classified an image before: asked by the readers of a chunk, of all images that wait."""

import json
import logging
import threading
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import ExitStack

from sqlalchemy import Connection, bindparam, select

from tagger.database.connection import Database
from tagger.database.statements import PreparedQuery, among
from tagger.database.tables import contents
from tagger.ledger.chunks import Claim
from tagger.tags.contents import is_classified_by

log = logging.getLogger(__name__)

_FIND_CLASSIFIED = select(contents.c.digest).where(
    among(contents.c.digest, bindparam("digests")),
    contents.c.outcome.is_not(None),
    is_classified_by(
        bindparam("model_id"), ("top_k", bindparam("top_k")), ("threshold", bindparam("threshold"))
    ),
)


class KnownImages:
    """Answers for the models of a claim until `close`, by one connection. Thread-safe.

    While a statement runs, questions wait, and the next statement asks all of them.
    """

    def __init__(self, database: Database, claim: Claim) -> None:
        self._database = database
        self._claim = claim
        self._asking = threading.Lock()  # guards the connection
        self._waiting: deque[_Question] = deque()
        self._connection: Connection | None = None
        self._query: PreparedQuery | None = None
        self._open_connection = ExitStack()
        self._is_closed = False

    def lacking_models(self, digest: str) -> Sequence[int]:
        """The models that have not classified the image, with the same top-k and threshold.

        All of them if the database is away: to classify an image twice does no harm.
        """
        question = _Question(digest, tuple(self._claim.thresholds))
        self._waiting.append(question)
        with self._asking:
            if not question.is_answered:
                self._answer()
        return question.lacking

    def close(self) -> None:
        """Give the connection back. Readers that come later get all models."""
        with self._asking:
            self._is_closed = True
            self._disconnect()

    def _answer(self) -> None:
        """Answer all that wait."""
        questions = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            for model_id in () if self._is_closed else self._claim.thresholds:
                classified = self._classified(model_id, {each.digest for each in questions})
                for each in questions:
                    if each.digest in classified:
                        each.lacking = tuple(
                            lacking for lacking in each.lacking if lacking != model_id
                        )
        except Exception:  # of any driver
            log.info("the database did not say which images are known", exc_info=True)
            if self._connection is not None:
                self._connection.invalidate()
            self._disconnect()
        for each in questions:
            each.is_answered = True

    def _classified(self, model_id: int, digests: Collection[str]) -> set[str]:
        if self._query is None:
            read = self._database.read(in_transaction=False)
            self._connection = self._open_connection.enter_context(read)
            self._query = PreparedQuery(self._connection, _FIND_CLASSIFIED)
        parameters = {
            "digests": json.dumps([*digests]) if self._database.is_sqlite else [*digests],
            "model_id": model_id,
            "top_k": self._claim.top_k,
            "threshold": self._claim.thresholds[model_id],
        }
        return {digest for (digest,) in self._query.rows(parameters)}

    def _disconnect(self) -> None:
        self._connection = self._query = None
        self._open_connection.close()


class _Question:
    """An image, and the models that lack it, as far as is known."""

    def __init__(self, digest: str, lacking: tuple[int, ...]) -> None:
        self.digest = digest
        self.lacking = lacking
        self.is_answered = False
