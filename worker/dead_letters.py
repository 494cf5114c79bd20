"""The dead-letter list in Redis: messages that no worker understands. The ledger sends their chunks again."""

import json

import redis

DEAD_LETTERS = "tagger.dead-letters"
"""The key of the list. Operators read and delete it."""


def store_dead_letter(client: redis.Redis, body: object, reason: str) -> None:
    """Store a message with the reason of its refusal."""
    client.rpush(DEAD_LETTERS, json.dumps({"reason": reason, "body": body}, default=repr))
