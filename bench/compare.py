"""The tagger and what people would write instead, over the same photos with the same weights.

    python -m bench.compare --data FOLDER [--sets originals,landmarks,mix] [--photos N] [--rounds 3]
    python -m bench.compare FOLDER… [--peers tag,worker,celery] [--out build/compare]

Prints Markdown, and writes it with a chart and all figures into a folder. `docs/how-to/benchmark.md` says what each program
is and how to read what is printed; the peers are in `bench/peers`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.comparison.measurement import Measured, Task, reference, remember
from bench.comparison.photo_sets import SETS, PhotoSet, made_set, own_set, warm_up_photos
from bench.comparison.programs import PROGRAMS, TORCHSCRIPT, Program
from bench.comparison.results import Results
from bench.comparison.stored import Wanted
from bench.comparison.text import WHAT_IS_MEASURED, rounds_note, text_of
from bench.limits import SHIPPED, Steps, mean_steps
from bench.peers import TOP_K
from bench.processes import plain_environment, run
from bench.report import heading, note
from tagger.inference.artifact import read_manifest
from tagger.inference.devices import core_count

CACHE = Path("build") / "bench-photos"
OUT = Path("build") / "compare"


def main() -> None:
    """Compare the tagger with what people would write instead."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as remembered:
        for settings in ({}, TORCHSCRIPT):
            remember(asked.model, warm_up_photos(asked.cache), Path(remembered), **settings)
        _compare_all(asked, Path(remembered))


def _compare_all(asked: argparse.Namespace, remembered: Path) -> None:
    report = [heading("The tagger and its peers"), WHAT_IS_MEASURED]
    print("\n".join(report), flush=True)
    results = []
    for photo_set in _sets(asked):
        results.append(compare(photo_set, asked, remembered))
        report.append(text_of(results[-1]))
        print(report[-1], flush=True)
        write(asked.out, "\n".join(report), results)
    note(f"written: {', '.join(str(file) for file in sorted(asked.out.iterdir()))}")


def compare(photo_set: PhotoSet, asked: argparse.Namespace, remembered: Path) -> Results:
    """Run every program over a set of photos, in turn, so many rounds."""
    photos = photo_set.photos
    labels = len(read_manifest(asked.model).labels)
    wanted = Wanted(photos, min(TOP_K, labels))
    task = Task(asked.model, remembered, warm_up_photos(asked.cache), photo_set.folder, wanted)
    note(f"{photo_set.name}: {len(photos)} photos; once without measuring, to know what they show")
    firsts = reference(task)
    rounds: dict[str, list[Measured]] = {each.name: [] for each in asked.peers}
    alone: list[Steps] = []
    together: list[Steps] = []
    for number in range(asked.rounds):
        note(f"{photo_set.name}: round {number + 1} of {asked.rounds}")
        alone.append(_steps(task, at_once=1))
        together.append(_steps(task, at_once=core_count()))
        for each in _turned(asked.peers, number):
            rounds[each.name].append(each.measure(task))
            note(rounds_note(each.name, rounds[each.name][-1]))
    return Results(photo_set, len(photos), rounds, alone, together, firsts)


def write(folder: Path, report: str, results: Sequence[Results]) -> None:
    """The report, its figures and its chart; the chart where matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report)
    figures = [each.as_json() for each in results]
    (folder / "report.json").write_text(json.dumps(figures, indent=1))
    from bench.comparison.chart import draw_chart

    draw_chart(results, folder / "chart.png")


def _sets(asked: argparse.Namespace) -> list[PhotoSet]:
    own = [own_set(folder, asked.photos, asked.cache) for folder in asked.folders]
    made = (
        [made_set(name, asked.data, asked.photos, asked.cache) for name in asked.sets] if asked.data else []
    )
    if not own + made:
        raise SystemExit(
            "there are no photos: name folders, or --data with a folder that has originals in it"
        )
    return own + made


def _turned(programs: Sequence[Program], number: int) -> list[Program]:
    """Another begins in each round, so that none always follows the same one."""
    first = number % len(programs)
    return [*programs[first:], *programs[:first]]


def _steps(task: Task, at_once: int) -> Steps:
    """What each step costs in `at_once` processes that go through the photos at the same time; the mean of them."""
    command: list[str | Path] = [sys.executable, "-m", "bench.limits", task.photos, "--json", "--rounds", "1"]
    command += ["--photos", str(task.count), "--model", task.model, "--cache-folder", task.remembered]
    with ThreadPoolExecutor(at_once) as pool:
        done = list(pool.map(lambda _: run(command, plain_environment()).checked().out, range(at_once)))
    return mean_steps([Steps(**json.loads(out)[0]) for out in done])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="photos of your own")
    parser.add_argument(
        "--data", type=Path, help="a folder with originals and landmarks/test, to make the sets of"
    )
    parser.add_argument("--sets", type=_set_names, default=list(SETS), help=f"[{','.join(SETS)}]")
    parser.add_argument("--photos", type=int, help="at most so many of each set, rounded up to batches of 32")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    default = [each for each in PROGRAMS if not each.optional]
    names = ",".join(each.name for each in PROGRAMS)
    parser.add_argument("--peers", type=_programs, default=default, help=f"of {names} [all but the last]")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="an artifact [the one that ships]")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where made photos are kept [{CACHE}]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where the report goes [{OUT}]")
    asked = parser.parse_args()
    asked.model = asked.model.absolute()
    return asked


def _set_names(text: str) -> list[str]:
    return _known(text, list(SETS), "set")


def _programs(text: str) -> list[Program]:
    wanted = _known(text, [each.name for each in PROGRAMS], "program")
    return [each for each in PROGRAMS if each.name in wanted]


def _known(text: str, names: Sequence[str], what: str) -> list[str]:
    wanted = text.split(",")
    for name in wanted:
        if name not in names:
            raise argparse.ArgumentTypeError(f"there is no {what} {name!r}; there are {', '.join(names)}")
    return wanted


if __name__ == "__main__":
    main()
