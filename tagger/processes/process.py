"""What a program sets for its process: garbage collection, threads of engines, imports.

`import torch` runs the code of a `libcuda.so.1` in the working directory, which may be a stranger's.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

# New objects after which it looks at them: Python 3.13's default.
THRESHOLD = 2000


def postpone_collection() -> None:
    """Collect hardly anything while a program starts: imports make no cycles."""
    gc.set_threshold(100 * THRESHOLD)


def resume_collection() -> None:
    """Collect as usual from now on: processes that run long would keep the pixels of failed photos."""
    gc.freeze()
    gc.set_threshold(THRESHOLD)


def quiet_threads() -> None:
    """Let no thread spin while it waits for work. Call it before numpy or torch is imported.

    OpenBLAS gets no further thread: its threads spin for a tenth of a second after each product.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


# The flag of unshare(2) for the working directory.
_CLONE_FS = 0x200


def protect_imports() -> None:
    """Keep torch from reading the working directory when it is imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def root_folder() -> Iterator[None]:
    """Make `/` the working directory of this process."""
    here = os.open(".", os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", 0))
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(here)
        os.close(here)


class _Finder(MetaPathFinder):
    """Finds torch where Python finds it, and protects its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torch":
            spec = PathFinder.find_spec(fullname, path, target)
            if spec is not None and spec.origin is not None:
                _load_cusparselt(packages=Path(spec.origin).parents[1])
        return None  # other finders find it


def _load_cusparselt(packages: Path) -> None:
    """Load cuSPARSELt from where torch finds it, if it has CUDA. It is not loaded a second time."""
    libraries = sorted((packages / "nvidia" / "cusparselt" / "lib").glob("libcusparseLt.so*"))
    if libraries:
        import ctypes

        _run_in_root_folder(lambda: [ctypes.CDLL(str(library)) for library in libraries])


def _run_in_root_folder(work: Callable[[], object]) -> None:
    """Run `work` in a thread whose working directory is `/`, or in a process if a container forbids that."""
    from concurrent.futures import ThreadPoolExecutor

    def run() -> None:
        if _has_own_folder():
            os.chdir("/")
            work()
        else:
            with root_folder():
                work()

    with ThreadPoolExecutor(1, thread_name_prefix="root-folder") as pool:
        pool.submit(run).result()


def _has_own_folder() -> bool:
    """Give this thread a working directory of its own. False if the system cannot."""
    import ctypes

    libc = ctypes.CDLL(None)
    return hasattr(libc, "unshare") and libc.unshare(_CLONE_FS) == 0
