"""The app for `celery -A worker.app worker`, the only module that reads settings on import."""

from tagger.addresses import check_redis_url
from tagger.inference.devices import quiet_threads
from tagger.settings import load_settings
from worker.broker import find_broker
from worker.celery_app import make_app

quiet_threads()
settings = load_settings()
broker = find_broker(settings, start=True)
check_redis_url(broker.url)
app = make_app(broker.url)
