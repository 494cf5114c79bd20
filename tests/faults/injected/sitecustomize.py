"""Injects a fault into the `tagger` process that loads this module; the product has no hooks.

Python imports a module of this name at its start if it is on PYTHONPATH, where `Terminal.inject` puts it.
Environment variables select the fault:

    INJECT_KILL_ON_OPEN=WORD      SIGKILL when a file with WORD in its name is opened
    INJECT_HANG_ON_OPEN=WORD      the thread sleeps for an hour instead
    INJECT_KILL_ON_DECODE=WORD    SIGKILL when a photo with WORD in its bytes is decoded,
    INJECT_FAULT_ON_DECODE=WORD   SIGSEGV,
    INJECT_GROW_ON_DECODE=WORD    the process takes memory up to its limit or the OOM killer, and
    INJECT_BUSY_ON_DECODE=WORD    the thread computes for an hour
    INJECT_ATTACK_ON_DECODE=WORD  the photo takes over the decoder and tries all of ATTACKS (see attacks)
    INJECT_WITHOUT_LAYERS=NAMES   the system has no `seccomp` or no `landlock`
    INJECT_KILL_AT=MOMENT         SIGKILL at a moment (see MOMENTS), once:
    INJECT_ONCE=FILE              … created by the first kill; while it exists, nothing is killed
    INJECT_KILL_PARENT_AT=MOMENT  SIGKILL of the parent; with INJECT_KILL_AT, before this one
    INJECT_KILL_AT_COMMIT=NUMBER  SIGKILL before the database commits its NUMBERth transaction of this process
    INJECT_FREEZE=COMMAND…        in `tagger COMMAND`, a thread keeps the interpreter's lock once the file
    INJECT_FREEZE_WHEN=FILE       … FILE.COMMAND is there, which it removes;
    INJECT_FREEZE_ON_IMPORT=NAME  … and only when it imports the module NAME
    INJECT_SLOW_PASS_S=SECONDS    each forward pass takes this much longer,
    INJECT_SLOW_WHILE=FILE        … while the file exists
    INJECT_RECORD_FLUSHES=FILE    flushes, renames and commits are recorded (see flushes)
    INJECT_VALUES=MODULE.NAME=JSON…  constants of the product in this process, such as the duration of a lease
"""

import ctypes
import importlib
import itertools
import json
import mmap
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import attacks
import flushes

AN_HOUR_S = 3600.0
MUTEX_BYTES = 64  # At least those of a `pthread_mutex_t`, which is free when all are 0

MOMENTS = {
    "before the acknowledgement": ("worker.tasks", "Engine", "process"),
    "before a batch is committed": ("tagger.jobs.processing.storage", "", "store_outcomes"),
    "after a file was replaced": ("tagger.photos.files", "OpenFolder", "replace"),
    "after a file was removed": ("tagger.photos.files", "OpenFolder", "unlink"),
}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def grow() -> None:
    if resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY:
        kill()
    blocks = []
    try:
        while True:
            # Reserved only: it is not written.
            blocks.append(mmap.mmap(-1, 2**28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except OSError as error:
        raise MemoryError from error


def compute() -> None:
    ends_at = time.monotonic() + AN_HOUR_S
    while time.monotonic() < ends_at:
        pass


def attack() -> None:
    errors = importlib.import_module("tagger.errors")
    raise errors.PhotoFailed(
        errors.FailureKind.INTERNAL, json.dumps([attacks.results(), attacks.surroundings()])
    )


def on_decode(word: str, act: Callable[[], None]) -> None:
    """Act before a photo is decoded. The modules that decode are imported later."""
    images = importlib.import_module("tagger.photos.decoding")
    original = images.decode_photo

    @wraps(original)
    def wrapped(data: bytes, *args: Any, **kwargs: Any) -> Any:
        if word.encode() in data:
            act()
        return original(data, *args, **kwargs)

    images.decode_photo = wrapped


def without_layers(names: list[str]) -> None:
    functions = {"seccomp": "_filter_system_calls", "landlock": "_give_up_access"}
    confinement = importlib.import_module("tagger.pipeline.confinement")
    for name in names:
        getattr(confinement, functions[name])  # fails if the function no longer exists
        setattr(confinement, functions[name], lambda: 0)


def pass_on() -> None:
    """Pass the faults on to child processes that do not get this one's environment."""
    module = importlib.import_module("tagger.pipeline.sandbox")
    original = module.minimal_environment
    # Others import torch, which these processes do not have.
    names = [name for name in os.environ if name.endswith(("_ON_OPEN", "_ON_DECODE", "_WITHOUT_LAYERS"))]
    injected = {name: os.environ[name] for name in names}
    module.minimal_environment = lambda: original() | injected


def on_open(word: str, act: Callable[[], None]) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and word in _name(arguments[0]) and not arguments[2] & os.O_DIRECTORY:
            act()

    sys.addaudithook(hook)


def _name(path: object) -> str:
    if isinstance(path, str | bytes | os.PathLike):
        return os.path.basename(os.fsdecode(path))  # noqa: PTH119 - called for every open: a Path would be slow
    return ""  # opened by a descriptor


def at(moment: str, act: Callable[[], None]) -> None:
    """Act after each call of a method, or function."""
    module, owner, name = MOMENTS[moment]
    imported = importlib.import_module(module)
    target = getattr(imported, owner) if owner else imported
    original = getattr(target, name)

    @wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        act()
        return result

    setattr(target, name, wrapped)


def kill_at_commit(number: int) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    commits = itertools.count(1)

    def on_commit(_connection: object) -> None:
        if next(commits) == number:
            kill()

    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", on_commit)


def kill_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def freeze_when(file: Path) -> None:
    def freeze() -> None:
        while not file.exists():
            time.sleep(0.1)
        hold_lock(file)

    threading.Thread(target=freeze, daemon=True).start()


def freeze_on_import(module: str, file: Path) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and arguments[0] == module and file.exists():
            hold_lock(file)

    sys.addaudithook(hook)


def hold_lock(file: Path) -> None:
    """Hold the interpreter's lock, as a library in a deadlock does: `PyDLL` keeps it."""
    file.unlink()
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(MUTEX_BYTES)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)  # unlike a sleep, no signal ends it


def do_once(once: Path, *acts: Callable[[], None]) -> None:
    try:
        once.touch(exist_ok=False)
    except FileExistsError:
        return
    for act in acts:
        act()


def slow_passes(seconds: float, flag: Path | None) -> None:
    model = importlib.import_module("tagger.model.model").Model
    original = model.outputs

    @wraps(original)
    def slow(self: Any, images: Any) -> Any:
        is_warm_up = not any(image.any() for image in images)
        if not is_warm_up and (flag is None or flag.exists()):
            time.sleep(seconds)
        return original(self, images)

    model.outputs = slow


def set_values(words: list[str]) -> None:
    """Set constants in this order, before modules that copy them are imported."""
    for word in words:
        path, _, value = word.partition("=")
        module, _, name = path.rpartition(".")
        imported = importlib.import_module(module)
        getattr(imported, name)  # fails if the name no longer exists
        setattr(imported, name, json.loads(value))


ON_DECODE = {
    "KILL": kill,
    "FAULT": fault,
    "GROW": grow,
    "BUSY": compute,
    "ATTACK": attack,
}


def main() -> None:
    faults = {
        name.removeprefix("INJECT_"): value
        for name, value in os.environ.items()
        if name.startswith("INJECT_")
    }
    if "VALUES" in faults:
        set_values(faults["VALUES"].split())
    if "KILL_ON_OPEN" in faults:
        on_open(faults["KILL_ON_OPEN"], kill)
    if "HANG_ON_OPEN" in faults:
        on_open(faults["HANG_ON_OPEN"], lambda: time.sleep(AN_HOUR_S))
    for name, act in ON_DECODE.items():
        if f"{name}_ON_DECODE" in faults:
            on_decode(faults[f"{name}_ON_DECODE"], act)
    if "WITHOUT_LAYERS" in faults:
        without_layers(faults["WITHOUT_LAYERS"].split())
    if "SLOW_PASS_S" in faults:
        flag = Path(faults["SLOW_WHILE"]) if "SLOW_WHILE" in faults else None
        slow_passes(float(faults["SLOW_PASS_S"]), flag)
    for command in faults.get("FREEZE", "").split():
        file = Path(f"{faults['FREEZE_WHEN']}.{command}")
        if command in sys.orig_argv and "FREEZE_ON_IMPORT" in faults:
            freeze_on_import(faults["FREEZE_ON_IMPORT"], file)
        elif command in sys.orig_argv:
            freeze_when(file)
    kills = {"KILL_PARENT_AT": kill_parent, "KILL_AT": kill}
    for moment in {faults[name] for name in kills if name in faults}:
        acts = [act for name, act in kills.items() if faults.get(name) == moment]
        at(moment, partial(do_once, Path(faults["ONCE"]), *acts))
    if "RECORD_FLUSHES" in faults:
        flushes.record(Path(faults["RECORD_FLUSHES"]))
    if "KILL_AT_COMMIT" in faults:
        kill_at_commit(int(faults["KILL_AT_COMMIT"]))
    if faults:
        pass_on()


main()
