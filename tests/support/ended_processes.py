"""What becomes of the tests of a process that ended: the system may end one, for want of memory or by a fault in C.

pytest-xdist starts another process. The test that ran is repeated once and the summary lists it as RERUN; if its process ends
again, it has failed.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

REPEATED = pytest.StashKey[set[str]]()
"""The tests that are repeated because their process ended."""


class RepeatingScheduling(LoadGroupScheduling):
    """`--dist loadgroup` that continues after a process ended.

    pytest-xdist 3.8.0 also distributes groups without a test that is left, and waits for their results for ever.
    """

    def remove_node(self, node: WorkerController) -> str | None:
        open_groups = {
            name: {test: False for test, is_done in tests.items() if not is_done}
            for name, tests in self.assigned_work[node].items()
        }
        self.assigned_work[node] = {name: tests for name, tests in open_groups.items() if tests}
        return super().remove_node(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling:
    return RepeatingScheduling(config, log)


def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: LoadGroupScheduling) -> None:
    """Report a test whose process ended as one that is repeated; the scheduler distributes it again."""
    repeated = sched.config.stash.setdefault(REPEATED, set())
    if crashitem not in repeated:
        repeated.add(crashitem)
        report.outcome = "rerun"  # as pytest-rerunfailures names it
