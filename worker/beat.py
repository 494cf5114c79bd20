"""The beat program, which `tagger beat` runs. It is the same as `celery -A worker.app beat`.

Beat only sends ticks. SQL decides which schedules are due, so two beats do no harm, and missed runs are made up for.
"""

import sys

from worker.broker import check_broker


def run_beat(log_level: str, *, wait: bool) -> None:
    """Run until stopped. With `wait`, the scheduler waits for Redis.

    Raises:
        RedisUnavailable: Redis does not answer, without `wait`.
    """
    from worker.app import app, broker  # reads the settings, which importing the scheduler must not do

    if not wait:
        check_broker(broker)
    sys.stderr.write("beat is running; press Ctrl-C to stop it\n")
    program = app.Beat(loglevel=log_level, quiet=True)
    program.init_loader = app.finalize  # without the tasks, which import torch: beat sends them by name
    program.run()
