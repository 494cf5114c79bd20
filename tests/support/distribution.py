"""Which process of pytest-xdist runs a test: one starts what several modules share, such as Chromium."""

from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SINGLE = ("tests/faults/", "tests/acceptance/")
"""Folders with long tests: each test goes to the next free process. Elsewhere, a module goes to one."""
GROUPED = frozenset(
    f"tests/acceptance/{name}.py"
    for name in ("test_hardened_servers", "test_teach_commands", "test_tls_servers", "test_worker_monitoring")
)
"""Modules there whose fixtures take longer than most of their tests."""
SHARED = ("support.browser", "support.buckets")
"""Modules that import one of these go to one process: a browser or a bucket takes seconds to start."""


class ModuleScheduling(LoadScopeScheduling):
    """`--dist loadscope` by module, where a module's tests are short."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module.startswith(SINGLE):
            return module if module in GROUPED else nodeid
        return _shared(self.config.rootpath / module) or module


@cache
def _shared(module: Path) -> str | None:
    text = module.read_text()
    return next((name for name in SHARED if f"from {name} import" in text), None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return ModuleScheduling(config, log)
