"""The transport between Redis and Celery when the connection breaks at a bad moment."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support.servers import RedisServer

from worker.celery_app import make_app
from worker.messages import TASK_NAME

QUEUE = "tagger.bulk"


@pytest.fixture
def channel(redis_server: RedisServer) -> Iterator[Any]:
    """A channel that may have one unacknowledged message, with two in its queue."""
    with closing(make_app(redis_server.url)) as app:
        for number in range(2):
            app.send_task(TASK_NAME, args=[{"number": number}], queue=QUEUE)
        with app.connection_for_read() as connection:
            opened = connection.default_channel
            opened.basic_qos(0, 1, False)
            yield opened


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_message_whose_end_redis_did_not_hear_of_leaves_room_for_the_next(
    channel: Any, redis_server: RedisServer, end: str
) -> None:
    message = channel.basic_get(QUEUE)
    assert not channel.qos.can_consume()
    redis_server.stop()
    with pytest.raises(channel.connection_errors):
        getattr(message, end)()
    redis_server.start()
    assert channel.qos.can_consume()
    following = channel.basic_get(QUEUE)
    assert following.payload[0] == [{"number": 1}]
    following.ack()
    with redis_server.client() as client:
        assert client.hkeys("unacked") == [
            message.delivery_tag.encode()
        ]  # delivered again after the time-out
