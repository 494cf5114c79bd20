"""Which process runs a test, and what becomes of the tests of one that ended, for want of memory or by a fault in C.

pytest-xdist starts another process. The test that ran is repeated once and the summary lists it as RERUN; if its process ends
again, it has failed.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

SINGLE = ("tests/faults/", "tests/acceptance/")
"""Folders with long tests: each goes to the next free process. Elsewhere a module's tests go to one process."""
GROUPED = frozenset(
    f"tests/acceptance/{name}.py"
    for name in ("test_hardened_servers", "test_teach_commands", "test_tls_servers")
)
"""Modules there whose fixtures take longer than most of their tests."""
REPEATED = pytest.StashKey[set[str]]()
"""The tests that are repeated because their process ended."""


class RepeatingScheduling(LoadGroupScheduling):
    """`--dist loadgroup` by module that continues after a process ended.

    pytest-xdist 3.8.0 also distributes groups without a test that is left, and waits for their results for ever. It appends
    a group to the name of a test, which pytest 9 ignores, so that there would be no groups.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return nodeid if module.startswith(SINGLE) and module not in GROUPED else module

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
