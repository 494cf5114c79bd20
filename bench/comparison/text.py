"""Results in Markdown."""

from collections.abc import Iterator, Sequence

from bench.comparison.measurement import Measured
from bench.comparison.photo_sets import WARM_UP_PHOTOS
from bench.comparison.programs import OURS, PROGRAMS, REFERENCE, STEPS, WORKER, WORKERS, program
from bench.comparison.results import Results
from bench.limits import Steps
from bench.report import median, spread, table

GOAL = 0.93
WHAT_IS_MEASURED = f"""\
Every program gets the same photos and the same artifact, on the CPU, and stores the five best tags of each photo in
SQLite; in every round all run in turn, the limit too. Figures are medians of the rounds, ratios the medians of what
they were in each round.

- **CPU ms/photo**: user and system time of all its processes, without the start. It is what to compare: other work on
  the machine hardly changes it. A command runs twice, over {WARM_UP_PHOTOS} small photos and over these and the set, and
  the difference counts. Workers are up and have seen those photos before; what their processes use until the set's last
  photo is stored counts.
- **photos/s**: without the start too, by the wall clock, which other work on the machine does change. For Celery from
  the first message or claim to the last photo stored.
- **start**: seconds for a command over the {WARM_UP_PHOTOS} small photos, from Python's start on.
- **peak MiB**: the most that all its processes took at once; what they share counts once. Sampled, so short peaks may be missed.
- **sending**: CPU seconds of the command that gave the photos to the workers, and of Redis. Not in CPU ms/photo.
- **same top-1**: photos whose best tag is the one that DataLoader found, which decodes them whole and computes in float32.
- **limit**: what reading, digest, camera facts, decoding and the model cost, step by step on one thread, added up; with such a
  process on each core, as the programs keep all of them busy and cores that work share caches and memory, and alone.
"""


def text_of(results: Results) -> str:
    """The tables of one set of photos."""
    return "\n".join(_parts(results))


def _parts(results: Results) -> Iterator[str]:
    photo_set = results.photo_set
    rounds = len(results.together)
    yield f"### {photo_set.name}: {results.photos} photos, {photo_set.mean_mb:.2f} MB on average, {rounds} round{'s' * (rounds != 1)}\n"
    yield _programs(results)
    if results.has(*STEPS):
        yield _differences(results)
    yield _limit(results)
    if results.has(WORKER, WORKERS):
        times = results.times_as_fast(WORKERS, WORKER)
        yield (
            f"Two workers on these cores tag {times:.2f} times the photos/s of one (goal: at least {GOAL}), "
            f"for {results.times(WORKERS, WORKER):.2f} times its CPU.\n"
        )


def _programs(results: Results) -> str:
    names = (
        "",
        "CPU ms/photo",
        "least to greatest",
        "against `tagger tag`",
        "photos/s",
        "least to greatest",
        "start s",
        "peak MiB",
        "sending s",
        "same top-1",
    )
    return table(names, [_row(results, each.name) for each in PROGRAMS if results.has(each.name)])


def _row(results: Results, name: str) -> list[object]:
    rounds = results.rounds[name]
    times = f"{results.times(name, OURS):.2f} x" if results.has(OURS) else "-"
    return [
        program(name).title,
        results.cpu_ms(name),
        spread([each.cpu_ms for each in rounds]),
        times,
        _or_dash([each.rate for each in rounds]),
        _spread_or_dash([each.rate for each in rounds]),
        _or_dash([each.start_s for each in rounds]),
        round(median(each.peak_mib for each in rounds)),
        _or_dash([each.sending_cpu_s for each in rounds]),
        f"{100 * results.same_first(name):.1f} %",
    ]


def _or_dash(values: Sequence[float | None]) -> object:
    there = [value for value in values if value is not None]
    return median(there) if there else "-"


def _spread_or_dash(values: Sequence[float | None]) -> str:
    there = [value for value in values if value is not None]
    return spread(there) if there else "-"


def _differences(results: Results) -> str:
    """From DataLoader to ours, one step after the other."""
    whole = results.cpu_ms(REFERENCE) - results.cpu_ms(OURS)
    rows: list[list[object]] = [[program(REFERENCE).title, results.cpu_ms(REFERENCE), "-", "-"]]
    for (name, before), what in zip(zip(STEPS[1:], STEPS, strict=False), _WHAT, strict=True):
        saved = results.cpu_ms(before) - results.cpu_ms(name)
        share = f"{100 * saved / whole:.0f} %" if whole > 0 else "-"
        rows.append([what, results.cpu_ms(name), saved, share])
    return table(("where the difference comes from", "CPU ms/photo", "saved", "of what is saved"), rows)


_WHAT = (
    "+ JPEGs decoded at a fraction of their size",
    "+ network frozen, bfloat16, channels_last",
    "+ how the work is scheduled: `tagger tag`, TorchScript",
    "+ the fastest backend here: `tagger tag`",
)


def _limit(results: Results) -> str:
    names = ("CPU ms/photo", *(name.replace("_", " ") for name in _STEPS), "**limit**")
    rows = [
        _steps_row("a process on each core", results.together),
        _steps_row("one process alone", results.alone),
    ]
    shares = [
        f"limit ÷ {program(name).title} {results.limit_share(name):.2f}"
        f" ({results.limit_share_alone(name):.2f} of the limit alone)"
        for name in (OURS, WORKER)
        if results.has(name)
    ]
    note = f"{', '.join(shares)}; goal: at least {GOAL}.\n" if shares else ""
    return table(names, rows) + "\n" + note


_STEPS = ("read", "digest", "camera_facts", "decode", "model")


def _steps_row(title: str, steps: Sequence[Steps]) -> list[object]:
    costs = [median(getattr(each, name) for each in steps) for name in _STEPS]
    return [title, *costs, median(each.limit for each in steps)]


def rounds_note(name: str, measured: Measured) -> str:
    """One run in a line, for somebody who watches."""
    return f"{program(name).title}: {measured.cpu_ms:.1f} CPU ms/photo, {measured.rate or 0:.1f} photos/s"
