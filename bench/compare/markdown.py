"""The results as Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from statistics import median

from bench.compare.measurement import Measurement
from bench.compare.photo_sets import WARM_UP_PHOTOS
from bench.compare.programs import PROGRAMS, REFERENCE, STEPS, TAG, WORKER, WORKERS, find_program
from bench.compare.results import Results
from bench.limits import Steps
from bench.report import table, value_range

TARGET = 0.93
INTRODUCTION = f"""\
Every program gets the same photos and the same artifact, runs on the CPU, and stores the five best tags of each photo in
SQLite. In each round all programs run in turn, and the limit is measured. Values are medians of the rounds; ratios are
medians of each round's ratio.

- **CPU ms/photo**: user and system time of all processes, without start-up. Compare programs by this value: other load on
  the machine hardly changes it. A command runs twice, over {WARM_UP_PHOTOS} small photos and over these and the set; the
  difference counts. Workers have processed those photos before; their CPU time until the set's last photo is stored counts.
- **photos/s**: wall time, also without start-up; other load changes it. With Celery, it is measured from the first message
  or claim to the last stored photo.
- **start**: seconds of a command over the {WARM_UP_PHOTOS} small photos, including Python's start.
- **peak MiB**: the peak memory of all processes; shared memory counts once. It is sampled and may miss short peaks.
- **enqueue**: CPU seconds of the command that enqueued the photos, and of Redis. Not included in CPU ms/photo.
- **same top-1**: photos whose best tag equals that of DataLoader, which decodes at full size and computes in float32.
- **limit**: the sum of reading, digest, camera facts, decoding and the model, each measured alone on one thread: with one such
  process on each core, as the programs keep all cores busy and busy cores share caches and memory, and with a single process.
"""
_OPTIMISATIONS = (
    "+ scaled JPEG decoding",
    "+ network frozen, bfloat16, channels_last",
    "+ scheduling: `tagger tag`, TorchScript",
    "+ this machine's fastest backend: `tagger tag`",
)
"""What each of STEPS adds to the one before it."""


def results_markdown(results: Results) -> str:
    """Return the tables of one set of photos."""
    return "\n".join(_sections(results))


def progress_line(name: str, measurement: Measurement) -> str:
    """Return one run in one line."""
    title = find_program(name).title
    return f"{title}: {measurement.cpu_ms:.1f} CPU ms/photo, {measurement.rate or 0:.1f} photos/s"


def _sections(results: Results) -> Iterator[str]:
    photo_set = results.photo_set
    rounds = len(results.parallel)
    yield f"### {photo_set.name}: {results.photos} photos, {photo_set.mean_mb:.2f} MB on average, {rounds} round{'s' * (rounds != 1)}\n"
    yield _programs_table(results)
    if results.has(*STEPS):
        yield _savings_table(results)
    yield _limit_section(results)
    if results.has(WORKER, WORKERS):
        yield (
            f"Two workers tag {results.speedup(WORKERS, WORKER):.2f} times the photos/s of one on the same cores "
            f"(target: at least {TARGET}), with {results.cpu_ratio(WORKERS, WORKER):.2f} times the CPU time.\n"
        )


def _programs_table(results: Results) -> str:
    names = (
        "",
        "CPU ms/photo",
        "range",
        "÷ `tagger tag`",
        "photos/s",
        "range",
        "start s",
        "peak MiB",
        "enqueue s",
        "same top-1",
    )
    return table(names, [_row(results, each.name) for each in PROGRAMS if results.has(each.name)])


def _row(results: Results, name: str) -> list[object]:
    rounds = results.rounds[name]
    rates = [each.rate for each in rounds if each.rate is not None]
    return [
        find_program(name).title,
        results.cpu_ms(name),
        value_range([each.cpu_ms for each in rounds]),
        f"{results.cpu_ratio(name, TAG):.2f} x" if results.has(TAG) else "-",
        _median_or_dash(rates),
        value_range(rates) if rates else "-",
        _median_or_dash([each.start_s for each in rounds]),
        round(median(each.peak_mib for each in rounds)),
        _median_or_dash([each.enqueue_cpu_s for each in rounds]),
        f"{100 * results.min_agreement(name):.1f} %",
    ]


def _median_or_dash(values: Sequence[float | None]) -> object:
    numbers = [value for value in values if value is not None]
    return median(numbers) if numbers else "-"


def _savings_table(results: Results) -> str:
    """The CPU time that each optimisation saves, from DataLoader to `tagger tag`."""
    total = results.cpu_ms(REFERENCE) - results.cpu_ms(TAG)
    rows: list[list[object]] = [[find_program(REFERENCE).title, results.cpu_ms(REFERENCE), "-", "-"]]
    for title, before, after in zip(_OPTIMISATIONS, STEPS, STEPS[1:], strict=False):
        saved = results.cpu_ms(before) - results.cpu_ms(after)
        share = f"{100 * saved / total:.0f} %" if total > 0 else "-"
        rows.append([title, results.cpu_ms(after), saved, share])
    return table(("optimisation", "CPU ms/photo", "saved", "share of savings"), rows)


def _limit_section(results: Results) -> str:
    names = ("CPU ms/photo", *(field.name.replace("_", " ") for field in fields(Steps)), "**limit**")
    rows = [
        _steps_row("one process per core", results.parallel),
        _steps_row("a single process", results.single),
    ]
    shares = [
        f"limit ÷ {find_program(name).title} {results.limit_share(name, results.parallel):.2f}"
        f" ({results.limit_share(name, results.single):.2f} with the limit of a single process)"
        for name in (TAG, WORKER)
        if results.has(name)
    ]
    text = f"{', '.join(shares)}; target: at least {TARGET}.\n" if shares else ""
    return table(names, rows) + "\n" + text


def _steps_row(title: str, rounds: Sequence[Steps]) -> list[object]:
    costs = zip(*(asdict(steps).values() for steps in rounds), strict=True)
    return [title, *map(median, costs), median(steps.limit for steps in rounds)]
