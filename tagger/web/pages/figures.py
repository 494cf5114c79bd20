"""How numbers are written on a page; templates know these as filters."""

_THIN = "\u202f"  # narrow and not broken
_STEPS = ((2**30, "GB"), (2**20, "MB"), (2**10, "kB"))


def percent(part: float) -> str:
    """`83 %`. What is neither nothing nor everything is never written as if it were."""
    if 0 < part < 0.01:
        return f"<{_THIN}1{_THIN}%"
    if 0.99 < part < 1:
        return f">{_THIN}99{_THIN}%"
    return f"{part:.0%}".replace("%", f"{_THIN}%")


def share(part: float) -> str:
    """`83.2%`, as SVG reads a length."""
    return f"{100 * min(1.0, max(0.0, part)):.4g}%"


def duration(count_ms: int) -> str:
    """`84 ms`, `4.9 s`."""
    return f"{count_ms}{_THIN}ms" if count_ms < 1000 else f"{count_ms / 1000:.1f}{_THIN}s"


def size(count: int) -> str:
    """`64 MB`, rounded down: what is allowed is not overstated."""
    for step, unit in _STEPS:
        if count >= step:
            return f"{count // step}{_THIN}{unit}"
    return f"{count}{_THIN}{'byte' if count == 1 else 'bytes'}"
