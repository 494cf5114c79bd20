"""What TensorBoard shows of a run, written while it goes on. The only module that imports TensorBoard, which is an extra."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from trainer.errors import TensorBoardMissing, writing_to
from trainer.learning.loop import Epoch


class Writer(Protocol):
    """The part of TensorBoard's writer that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object: ...

    def flush(self) -> object: ...


@contextmanager
def watching(folder: Path | None) -> Iterator[Callable[[Epoch], None]]:
    """Something to be told of every epoch, which writes events to `folder`; None: it does nothing.

    Raises:
        TensorBoardMissing, OutputUnwritable: with what to do.
    """
    if folder is None:
        yield lambda _epoch: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TensorBoardMissing from error
    with writing_to(folder):
        writer = SummaryWriter(folder)
    try:
        yield lambda epoch: _write(writer, epoch)
    finally:
        writer.close()


def _write(writer: Writer, epoch: Epoch) -> None:
    figures = {
        "loss/training": epoch.loss,
        "loss/validation": epoch.validation.loss,
        "top-1/validation": epoch.validation.top1,
        "learning rate": epoch.learning_rate,
        "photos per second": epoch.images_per_second,
    }
    for name, value in figures.items():
        writer.add_scalar(name, value, epoch.number)
    writer.flush()
