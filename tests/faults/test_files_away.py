"""Files that a job needs disappear while it runs: the folder of photos, the model file."""

import pytest
from sqlalchemy import func, select
from support.artifacts import tiny_artifact
from support.commands import stop
from support.fault_scenario import PHOTOS, FaultScenario, moved

from tagger.database.tables import photos

pytestmark = pytest.mark.slow


def test_a_job_waits_for_a_folder_that_was_unmounted(scenario: FaultScenario) -> None:
    with scenario.terminal.workers(1):
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        elsewhere = moved(scenario.folder)
        scenario.terminal.wait_until(lambda: scenario.terminal.progress(job).state == "waiting")
        scenario.terminal.wait_until(lambda: scenario.terminal.progress(job).running == 0)
        waiting = scenario.terminal.progress(job)
        assert "photos" in (waiting.note or "")
        assert (waiting.failed, waiting.done + waiting.queued) == (0, PHOTOS)
        assert _gone_or_failing(scenario) == 0
        elsewhere.rename(scenario.folder)
        scenario.assert_complete(job)


def test_a_replaced_model_file_is_not_run_until_it_is_restored(
    scenario: FaultScenario,
) -> None:
    terminal = scenario.terminal
    registered = terminal.folder / "registered.pt"
    tiny_artifact(registered, name="registered")
    right = registered.read_bytes()
    with terminal.workers(1) as (worker,):
        job = scenario.enqueue("--model", str(registered))
        scenario.wait_for_some(job)
        # Replaced by a rename, as programs replace a file that is in use.
        tiny_artifact(terminal.folder / "new.pt", seed=1, name="another")
        (terminal.folder / "new.pt").replace(registered)
        scenario.wait_for_some(job, more_than=scenario.stored(job))  # with the loaded model
        assert terminal.progress(job).note is None
        assert stop(worker) == 0
    with terminal.workers(1):
        terminal.wait_until(lambda: "digest differs" in (terminal.progress(job).note or ""))
        refused = terminal.progress(job)
        assert (refused.failed, refused.done + refused.queued + refused.running) == (0, PHOTOS)
        registered.write_bytes(right)
        scenario.assert_complete(job)


def _gone_or_failing(scenario: FaultScenario) -> int:
    lost = photos.c.gone_since.is_not(None) | photos.c.failure_kind.is_not(None)
    with scenario.terminal.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).select_from(photos).where(lost)) or 0
