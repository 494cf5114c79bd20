"""The beat program: `tagger beat` runs it. It is the same as `celery -A worker.app beat`.

Beat only sends ticks. SQL decides which schedules are due, so two beats do no harm, and missed runs are made up for.
"""

from worker.app import app


def run_beat(log_level: str) -> None:
    """Run until stopped."""
    program = app.Beat(loglevel=log_level, quiet=True)
    program.init_loader = app.finalize  # without the tasks, which import torch: beat sends them by name
    program.run()
