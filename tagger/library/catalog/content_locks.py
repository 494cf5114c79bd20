"""Locks of images until the transaction ends, in the one order that all transactions take: two of them never wait for each other."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from tagger.database.statements import among
from tagger.database.tables import contents


def hold_contents(connection: Connection, digests: Collection[str]) -> dict[str, int]:
    """Ids of the stored images, by digest. Their rows cannot be deleted until the transaction ends."""
    query = select(contents.c.digest, contents.c.id).where(contents.c.digest.in_(digests))
    query = query.order_by(contents.c.id).with_for_update(read=True, key_share=True)
    return {row.digest: row.id for row in connection.execute(query)} if digests else {}


def lock_contents(connection: Connection, content_ids: Collection[int]) -> None:
    """Let others wait that change these images, such as workers that classify them again."""
    query = select(contents.c.id).where(among(contents.c.id, content_ids)).order_by(contents.c.id)
    connection.execute(query.with_for_update(key_share=True))
