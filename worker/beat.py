"""The clock of the schedules as a program: what `tagger beat` runs, the same as `celery -A worker.app beat`.

It only ticks: SQL decides what is due, so two clocks do no harm, and one that was away is made up for.
"""

from celery.bin.celery import celery

from worker.app import app


def run_beat(log_level: str) -> None:
    """Run until stopped; ends the process."""
    # Handed over, not named: Celery would look for a name in the current folder first and run what it finds there.
    celery.params[0].default = app
    celery.main(["--quiet", "beat", "--loglevel", log_level, "--pidfile="], prog_name="celery")
