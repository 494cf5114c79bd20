"""The model file that a job needs is replaced while it runs."""

import pytest
from support.artifacts import tiny_artifact
from support.commands import stop
from support.fault_scenario import PHOTOS, FaultScenario

pytestmark = pytest.mark.slow


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
