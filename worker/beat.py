"""The beat program: `tagger beat` runs it. It is the same as `celery -A worker.app beat`.

Beat only sends ticks. SQL decides which schedules are due, so two beats do no harm, and missed runs are made up for.
"""

from celery.bin.celery import celery

from worker.app import app


def run_beat(log_level: str) -> None:
    """Run until stopped, then exit."""
    # The app is passed, not named: Celery would first look for a name in the current folder, and import what is there.
    celery.params[0].default = app
    celery.main(["--quiet", "beat", "--loglevel", log_level, "--pidfile="], prog_name="celery")
