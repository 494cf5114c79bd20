"""Files that jobs rely on are taken away under them: the folder of photos, the model."""

from artifacts import tiny_artifact
from commands import stop
from ordeal import PHOTOS, Ordeal, moved
from sqlalchemy import func, select

from tagger.tables import photos


def test_a_folder_that_is_unmounted_in_mid_job_is_waited_for(ordeal: Ordeal) -> None:
    with ordeal.terminal.workers(1):
        job = ordeal.enqueue()
        ordeal.wait_for_some(job)
        elsewhere = moved(ordeal.folder)
        ordeal.terminal.wait_until(lambda: ordeal.terminal.progress(job).state == "waiting")
        ordeal.terminal.wait_until(lambda: ordeal.terminal.progress(job).running == 0)
        waiting = ordeal.terminal.progress(job)
        assert "photos" in (waiting.note or "")
        assert (waiting.failed, waiting.done + waiting.queued) == (0, PHOTOS)
        assert _gone_or_failing(ordeal) == 0
        elsewhere.rename(ordeal.folder)
        ordeal.ends_well(job)


def test_a_model_file_that_is_replaced_is_not_run_until_the_right_one_is_back(ordeal: Ordeal) -> None:
    terminal = ordeal.terminal
    registered = terminal.folder / "registered.pt"
    tiny_artifact(registered, name="registered")
    right = registered.read_bytes()
    with terminal.workers(1) as (worker,):
        job = ordeal.enqueue("--model", str(registered))
        ordeal.wait_for_some(job)
        # A program that copies over a file that is in use writes another beside it and renames it.
        tiny_artifact(terminal.folder / "new.pt", seed=1, name="another")
        (terminal.folder / "new.pt").replace(registered)
        ordeal.wait_for_some(job, more_than=ordeal.stored(job))  # with what was loaded
        assert terminal.progress(job).note is None
        assert stop(worker) == 0
    with terminal.workers(1):
        terminal.wait_until(lambda: "digest differs" in (terminal.progress(job).note or ""))
        refused = terminal.progress(job)
        assert (refused.failed, refused.done + refused.queued + refused.running) == (0, PHOTOS)
        registered.write_bytes(right)
        ordeal.ends_well(job)


def _gone_or_failing(ordeal: Ordeal) -> int:
    lost = photos.c.gone_since.is_not(None) | photos.c.failure_kind.is_not(None)
    with ordeal.terminal.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).select_from(photos).where(lost)) or 0
