"""Fixtures of several modules: a ledger, photos as rows, folders and buckets, a sweeper."""

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.ledgers import LedgerBuilder
from support.stored_photos import StoredPhotos
from support.written_folder import WrittenFolder

from tagger.photos import object_store
from tagger.settings import Settings

if TYPE_CHECKING:
    from support.written_folder import WrittenBucket

    from worker.broker import RedisMonitor
    from worker.tasks import Sweeper


@pytest.fixture
def ledger(database) -> LedgerBuilder:
    return LedgerBuilder(database)


@pytest.fixture
def library(database, tmp_path) -> StoredPhotos:
    return StoredPhotos.with_tiny_model(database, tmp_path)


@pytest.fixture
def folder(database, tmp_path) -> WrittenFolder:
    return WrittenFolder(database, tmp_path)


@pytest.fixture
def settings(folder) -> Settings:
    return Settings(data_folder=folder.folder.parent / "data", model=str(folder.model.file))


@pytest.fixture
def photos(database, tmp_path, bucket, monkeypatch) -> "WrittenBucket":
    """Of a bucket; without photos."""
    from support.written_folder import WrittenBucket

    monkeypatch.setattr(object_store, "RETRY_PAUSE_S", 0.01)
    return WrittenBucket(database, tmp_path, bucket)


@pytest.fixture
def monitor(redis_server, database) -> "RedisMonitor":
    from worker.broker import RedisEndpoint, RedisKeys, RedisMonitor

    return RedisMonitor(RedisEndpoint(redis_server.url, RedisKeys(database.ledger_id), embedded=False))


@pytest.fixture
def sweeper(redis_server, monitor, database) -> Iterator["Sweeper"]:
    from tagger.jobs.processing.executor import ActivityMonitor
    from worker.producer import make_app
    from worker.tasks import Sweeper

    with closing(make_app(redis_server.url, monitor.broker.keys)) as app:
        yield Sweeper(app, monitor, database, Settings(), "w", "cpu", ActivityMonitor())
