"""Commands of `trainer` that run in this process, with the threads of a new one."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from support.command_line import CommandRunner, run_command

from tagger.model.devices import core_count
from trainer.cli.main import main


@pytest.fixture(autouse=True, scope="module")
def module_threads() -> Iterator[None]:
    """As many threads as in a new process: results of seeded training depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(core_count())
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def threads(module_threads) -> None:
    """The same number of threads for each test: loading a model changes it."""
    torch.set_num_threads(core_count())


@pytest.fixture
def trainer() -> CommandRunner:
    """`trainer("export", run)` runs that command."""
    return partial(run_command, main)


@pytest.fixture
def data() -> CommandRunner:
    """`data("inspect", folder)` runs `trainer data inspect FOLDER`."""
    return partial(run_command, main, "data")
