"""Which process of pytest-xdist runs a test."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SINGLE = ("tests/faults/", "tests/acceptance/")
"""Folders with long tests: each goes to the next free process. Elsewhere a module's tests go to one process."""
GROUPED = frozenset(
    f"tests/acceptance/{name}.py"
    for name in ("test_hardened_servers", "test_teach_commands", "test_tls_servers", "test_worker_monitoring")
)
"""Modules there whose fixtures take longer than most of their tests."""


class ModuleScheduling(LoadScopeScheduling):
    """`--dist loadscope` by module, where a module's tests are short."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return nodeid if module.startswith(SINGLE) and module not in GROUPED else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return ModuleScheduling(config, log)
