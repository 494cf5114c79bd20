"""The keys of one database in Redis. They carry its ledger's id, so that databases that share a Redis never meet in it."""

from dataclasses import dataclass

from tagger.database.enums import Priority


@dataclass(frozen=True)
class RedisKeys:
    """The keys of a ledger."""

    ledger_id: str

    @property
    def queues(self) -> dict[Priority, str]:
        """One queue of wake-ups per priority. The worker that takes one claims a chunk of the priorities whose queues it reads (see ledger.dispatch)."""
        return {priority: self._key(priority) for priority in Priority}

    @property
    def ticks(self) -> str:
        """A queue that every worker reads. It holds at most one tick per beat: see worker.celery_patches."""
        return self._key("ticks")

    @property
    def unacked(self) -> str:
        """The hash in which Celery's transport stores messages that workers have not acknowledged."""
        return self._key("unacked")

    @property
    def transport_options(self) -> dict[str, str]:
        """The keys of Celery's transport, by its names for them.

        The index has the messages that are not acknowledged by the time at which they were taken, the mutex is the lock of the
        process that restores them, and bindings are the queues of an exchange.
        """
        return {
            "unacked_key": self.unacked,
            "unacked_index_key": self._key("unacked_index"),
            "unacked_mutex_key": self._key("unacked_mutex"),
            "keyprefix_queue": self._key("binding.%s"),
            "keyprefix_binding_deadlines": self._key("binding_deadlines"),
            "keyprefix_binding_permanent": self._key("binding_permanent.%s"),
        }

    @property
    def absent(self) -> str:
        """A list that never exists: LPUSHX needs the same permissions and memory as a message, but writes nothing."""
        return self._key("absent")

    @property
    def message_queues(self) -> tuple[str, ...]:
        """The queues of ticks and chunks."""
        return (self.ticks, *self.queues.values())

    def _key(self, name: str) -> str:
        return f"tagger.{self.ledger_id}.{name}"
