"""A folder like a disk without file locks or shared memory, for processes that load this library."""

import errno
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_refused(const char *what, int fd) {
    char link[64], path[4096];
    const char *folder = getenv("UNSUITED_FOLDER"), *refused = getenv("UNSUITED_FOR");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || !folder || !refused || strcmp(what, refused)) return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder))) return 0;
    errno = atoi(getenv("UNSUITED_ERRNO"));
    return 1;
}

static int control(const char *name, int fd, int command, void *argument) {
    int (*next)(int, int, ...) = dlsym(RTLD_NEXT, name);
    int is_lock = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
    return is_lock && is_refused("locks", fd) ? -1 : next(fd, command, argument);
}

#define CONTROL(name) int name(int fd, int command, ...) { \
    va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); \
    return control(#name, fd, command, argument); }
CONTROL(fcntl)
CONTROL(fcntl64)

int flock(int fd, int operation) {
    int (*next)(int, int) = dlsym(RTLD_NEXT, "flock");
    return is_refused("locks", fd) ? -1 : next(fd, operation);
}

#define MAP(name) void *name(void *at, size_t size, int access, int flags, int fd, off_t offset) { \
    void *(*next)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, #name); \
    if (fd >= 0 && flags & MAP_SHARED && is_refused("memory", fd)) return MAP_FAILED; \
    return next(at, size, access, flags, fd, offset); }
MAP(mmap)
MAP(mmap64)
"""


def unsuited_disk(folder: Path, lacking: str, number: int = errno.ENOTSUP) -> Mapping[str, str]:
    """The environment of processes in which a folder has no `locks` or shared `memory`, with error `number`.

    Skips the test where there is no compiler.
    """
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source, library = folder.parent / "unsuited.c", folder.parent / "unsuited.so"
    source.write_text(_SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {
        "LD_PRELOAD": str(library),
        "UNSUITED_FOLDER": str(folder),
        "UNSUITED_FOR": lacking,
        "UNSUITED_ERRNO": str(number),
    }
