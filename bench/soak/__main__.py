"""Workers at work while everything around them breaks, for as long as one likes; then the sums are checked.

    python -m bench.soak [--minutes 20] [--seed N] [--postgres] [--workers 2] [--photos N]

A real redis-server, a real database and real workers, which are started again when they die; jobs are enqueued all the
time. Faults strike in turn, in an order drawn by the seed. In the end every photo must have exactly one outcome and
none may have failed; otherwise this ends with code 1. Ctrl-C ends it early, and still checks.
"""

import argparse
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.report import note, print_heading
from bench.soak.account import Account, print_account, wrongs
from bench.soak.faults import Breaker, kinds_for, strike_in_turn
from bench.soak.stage import Feeder, Stage, staged
from bench.soak.watch import Watch
from tagger.ledger.progress import list_jobs
from tagger.ledger.workers import list_workers

READY_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 600.0
"""Within this all jobs have to be over, once nothing is broken any more."""
LOG = Path("build") / "soak-workers.log"


def main() -> None:
    """Break everything around the workers, again and again, and check that no photo is lost or counted twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0, help="the order of faults and jobs [0]")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own, not on SQLite")
    parser.add_argument("--workers", type=int, default=2, help="[2]")
    parser.add_argument("--photos", type=int, default=600, help="in the first folder [600]")
    asked = parser.parse_args()
    print_heading("Soak")
    with staged(postgres=asked.postgres, workers=asked.workers) as stage:
        account = soak(stage, asked.minutes * 60, asked.photos, asked.seed)
        LOG.parent.mkdir(exist_ok=True)
        shutil.copy(stage.log, LOG)
        wrong = wrongs(stage, account)
        print_account(stage, account, wrong)
    note(f"what the workers said is in {LOG}")
    raise SystemExit(1 if wrong else 0)


def soak(stage: Stage, seconds: float, photos: int, seed: int) -> Account:
    """Work and break for so long, then let everything come to its end."""
    feeder = Feeder(stage, photos, random.Random(seed))
    watch = Watch(stage.database)
    account = Account(feeder, watch, Counter(dict.fromkeys(kinds_for(stage), 0)))
    stage.workers.start()
    try:
        _wait_until_ready(stage)
        watch.start()
        with suppress(KeyboardInterrupt):
            _break(stage, account, seconds, random.Random(seed))
        stage.ending.set()
        with suppress(KeyboardInterrupt):
            _settle(stage)
    finally:
        stage.ending.set()
        account.last_codes = stage.workers.stop()
        watch.stop()
    account.seconds = time.monotonic() - account.began
    return account


def _break(stage: Stage, account: Account, seconds: float, chance: random.Random) -> None:
    breaker = Breaker(stage, account.watch, chance)
    until = time.monotonic() + seconds

    def strike() -> None:
        for name in strike_in_turn(breaker, until):
            account.struck[name] += 1
            note(f"{time.monotonic() - account.began:6.0f} s  {name}")

    threads = [
        threading.Thread(target=_noting_trouble, args=(account, work))
        for work in (account.feeder.run, strike)
    ]
    for thread in threads:
        thread.start()
    try:
        # Not by joining: a ^C is heard at once only where the main thread waits for an event.
        stage.ending.wait(seconds)
    finally:
        stage.ending.set()  # whatever is broken is mended before it is left
        for thread in threads:
            thread.join()


def _noting_trouble(account: Account, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - a soak that no longer breaks anything must not pass for a good one
        account.troubles.append(f"the soak itself failed: {type(error).__name__}: {error}")


def _settle(stage: Stage) -> None:
    note("nothing is broken any more; waiting for all jobs to end")
    until = time.monotonic() + SETTLE_TIMEOUT_S
    while any(not job.is_over for job in list_jobs(stage.database)) and time.monotonic() < until:
        time.sleep(1.0)


def _wait_until_ready(stage: Stage) -> None:
    until = time.monotonic() + READY_TIMEOUT_S
    while not list_workers(stage.database):
        if time.monotonic() > until:
            raise SystemExit(f"no worker started:\n{stage.log.read_text()[-2000:]}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
