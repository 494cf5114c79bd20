"""Sends the messages of chunks that are due. Losing them costs no work: the ledger sends them again."""

from collections.abc import Sequence

from celery import Celery

from tagger.database.connection import Database
from tagger.errors import RedisRefused, RedisUnavailable
from tagger.ledger.dispatch import WaitingChunk, mark_sent, mark_unsent, unsent_chunks
from worker.broker import Broker, check_accepts_messages
from worker.celery_app import make_app
from worker.celery_config import QUEUES
from worker.messages import TASK_NAME, ChunkMessage


def try_publish(database: Database, broker: Broker, job: int | None = None) -> str | None:
    """Send the messages that are due (of one job). Returns why that failed, None if it did not."""
    if not unsent_chunks(database, job):
        return None
    try:
        check_accepts_messages(broker)
    except RedisUnavailable as error:
        return "No Redis is running yet." if broker.embedded else str(error)
    except RedisRefused as error:
        return str(error)
    app = make_app(broker.url)
    try:
        publish_chunks(app, database, job)
    except Exception as error:  # noqa: BLE001 - Celery and kombu raise what the transport raises; the ledger has the job
        return f"Redis at {broker.redacted_url} did not accept the messages: {str(error).rstrip('.')}."
    finally:
        app.close()
    return None


def publish_chunks(app: Celery, database: Database, job: int | None = None) -> int:
    """Send every message that is due (of one job), page by page. Returns their number."""
    count = 0
    while page := unsent_chunks(database, job):
        own = mark_sent(database, page)
        _send(app, database, own)
        count += len(own)
        if len(own) < len(page):
            break  # another process sends the rest
    return count


def _send(app: Celery, database: Database, marked: Sequence[WaitingChunk]) -> None:
    sent = 0
    try:
        with app.producer_pool.acquire(block=True) as producer:
            for waiting in marked:
                name = waiting.name
                message = ChunkMessage(ledger=database.ledger_id, job=name.job_id, chunk=name.chunk)
                app.send_task(
                    TASK_NAME,
                    args=[message.body()],
                    queue=QUEUES[waiting.priority],
                    producer=producer,
                    retry=False,
                )
                sent += 1
    finally:
        if sent < len(marked):
            mark_unsent(database, [waiting.name for waiting in marked[sent:]])
