"""Measures the web page of a large library: response times, CPU time and memory, uploads, thumbnails, and browsers.

    python -m bench.page [FOLDER] [--photos 100000] [--parts views,uploads,thumbnails,browser,lightbox,visits] [--rounds 5]

Creates a SQLite database with so many photos (see tests/rig/large_library.py), the first of them with real files, and sends
requests to a real `tagger serve`. Photos to upload come from FOLDER, or are drawn. Prints Markdown, and writes it with all values
to a folder.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.models import SHIPPED
from bench.options import names_of
from bench.page import first_visits, interactions, lightbox, scrolling, thumbnails, uploads, views
from bench.page.browsers import open_browsers
from bench.page.chromium import WINDOW
from bench.page.library import Library, make_library, prepare_uploads
from bench.report import heading, note, table
from tests.rig.large_library import JOBS

OUT = Path("build") / "page"
LIGHTBOX_STEPS = 10
"""Photos to step through in a round."""
DROPPED = 5
"""Photos to drop in a round."""
NO_BROWSER = "Not measured: neither Chromium nor Firefox is installed."
Section = tuple[str, object]
"""The results of a part as Markdown and as JSON."""


@dataclass(frozen=True)
class Options:
    """The options of the measurements."""

    rounds: int
    screens: int
    uploads: Sequence[Path]
    settings: dict[str, str]


def main() -> None:
    """Measure the web page over a large library."""
    args = _arguments()
    report = [heading("The page")]
    print(report[0], flush=True)
    values: dict[str, object] = {"photos": args.photos}
    settings = {"model": str(args.model.absolute()), "device": "cpu"}
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        files = prepare_uploads(args.folder, args.uploads, Path(name) / "uploads")
        note(f"creating {args.photos} photos, {args.files} of them with files")
        start = time.monotonic()
        library = make_library(Path(name), args.photos, args.files, files)
        note(f"created in {time.monotonic() - start:.0f} s")
        options = Options(args.rounds, args.screens, files, settings)
        for part in args.parts:
            text, values[part] = PARTS[part](library, options)
            report.append(text)
            print(text, flush=True)
            _write(args.out, report, values)
    note(f"written: {', '.join(str(file) for file in sorted(args.out.iterdir()))}")


def _views(library: Library, options: Options) -> Section:
    timings = views.measure_views(library, views.views_of(library), options.rounds, options.settings)
    export = views.measure_export(library, options.settings)
    text = [
        f"### {library.photos} photos: {len(library.counts)} landmarks\n",
        table(views.VIEW_COLUMNS, [each.row() for each in timings]),
        f"Cold: the first response of a new server. Warm: medians of {options.rounds} rounds over all views.\n",
        "The minimum is compared with the target, because other load on the machine slows some rounds down.\n",
        table(views.EXPORT_COLUMNS, [export.row()]),
    ]
    return "\n".join(text), {"views": [each.as_json() for each in timings], "export": export.as_json()}


def _uploads(library: Library, options: Options) -> Section:
    result = uploads.measure_uploads(library, options.uploads, options.rounds, options.settings)
    count = result.photos * options.rounds
    text = [
        f"### {result.photos} uploaded photos\n",
        table(uploads.COLUMNS, result.rows()),
        f"{count - result.differences} of {count} concurrent predictions equal the sequential ones.\n",
        f"The server's peak memory was {result.peak_mib:.0f} MiB.\n",
    ]
    return "\n".join(text), result.as_json()


def _thumbnails(library: Library, options: Options) -> Section:
    results = thumbnails.measure_thumbnails(library, options.rounds, options.settings)
    text = f"### Thumbnails, {thumbnails.CONNECTIONS} requests at a time\n\n"
    text += table(thumbnails.COLUMNS, [each.row() for each in results])
    return text, [each.as_json() for each in results]


def _browser(library: Library, options: Options) -> Section:
    with open_browsers() as browsers:
        if not browsers:
            return f"### Browsers\n\n{NO_BROWSER}\n", None
        times_ms = interactions.measure_interactions(
            library, browsers, options.uploads[:DROPPED], options.rounds, options.settings
        )
        scrolled = scrolling.measure_scrolling(library, browsers, options.screens, options.settings)
        versions = {name: browser.version for name, browser in browsers.items()}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = [
        f"### {named}, {WINDOW['width']} x {WINDOW['height']}\n",
        table(interactions.COLUMNS, interactions.rows(times_ms)),
        table(scrolling.COLUMNS, [each.row() for each in scrolled]),
    ]
    values = {"versions": versions, "times_ms": times_ms, "scrolling": [asdict(each) for each in scrolled]}
    return "\n".join(text), values


def _lightbox(library: Library, options: Options) -> Section:
    steps = LIGHTBOX_STEPS * options.rounds
    with open_browsers() as browsers:
        if not browsers:
            return f"### Lightbox\n\n{NO_BROWSER}\n", None
        results = lightbox.measure_lightbox(library, browsers, steps, options.settings)
    text = "### Lightbox: from the key to the painted photo\n\n"
    text += table(lightbox.COLUMNS, [each.row() for each in results])
    return text, [asdict(each) for each in results]


def _visits(library: Library, options: Options) -> Section:
    with open_browsers() as browsers:
        if not browsers:
            return f"### First visits\n\n{NO_BROWSER}\n", None
        visits = first_visits.measure_first_visits(library, browsers, options.settings)
    text = "### First visits: bytes as they are sent\n\n"
    text += table(first_visits.COLUMNS, [each.row() for each in visits])
    return text, [asdict(each) for each in visits]


PARTS: dict[str, Callable[[Library, Options], Section]] = {
    "views": _views,
    "uploads": _uploads,
    "thumbnails": _thumbnails,
    "browser": _browser,
    "lightbox": _lightbox,
    "visits": _visits,
}


def _write(folder: Path, report: list[str], values: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text("\n".join(report))
    (folder / "report.json").write_text(json.dumps(values, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=main.__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="FOLDER", help="photos to upload [drawn ones]"
    )
    parser.add_argument("--photos", type=int, default=100_000, help=f"a multiple of {JOBS} [100000]")
    parser.add_argument("--files", type=int, default=10_000, help="photos with real files [10000]")
    parser.add_argument("--uploads", type=int, default=50, help="photos to upload [50]")
    parser.add_argument("--screens", type=int, default=200, help="screens to scroll [200]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parts = names_of("part", PARTS)
    parser.add_argument("--parts", type=parts, default=list(PARTS), help=f"[{','.join(PARTS)}]")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a model file [the one of the package]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the report [{OUT}]")
    args = parser.parse_args()
    if args.photos % JOBS:
        parser.error(f"--photos: use a multiple of {JOBS}")
    return args


if __name__ == "__main__":
    main()
