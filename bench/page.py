"""The web page over a large library: how soon it answers, what it costs, and how it feels.

    python -m bench.page [FOLDER] [--photos 100000] [--parts views,uploads,thumbnails,browser] [--rounds 5]

Makes a SQLite database of so many photos (see many_photos), the first of them with real files, and asks a real `tagger serve`.
FOLDER has photos to upload, drawn ones are if it is not given. Prints Markdown, and writes it with all figures into a folder.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.limits import SHIPPED
from bench.report import heading, note, table
from bench.serving import chromium, thumbnails, uploads, views
from bench.serving.library import Library, make_library, photos_to_send
from tests.support.large_library import JOBS

OUT = Path("build") / "page"
Part = tuple[str, object]
"""What came out, as Markdown and as figures."""


def main() -> None:
    """Measure the web page over a large library."""
    asked = _arguments()
    report = [heading("The page")]
    print(report[0], flush=True)
    figures: dict[str, object] = {"photos": asked.photos}
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        asked.files_sent = photos_to_send(asked.folder, asked.uploads, Path(name) / "sent")
        library = _library(asked, Path(name))
        for part in asked.parts:
            text, figures[part] = PARTS[part](library, asked)
            report.append(text)
            print(text, flush=True)
            _write(asked.out, report, figures)
    note(f"written: {', '.join(str(file) for file in sorted(asked.out.iterdir()))}")


def _library(asked: argparse.Namespace, folder: Path) -> Library:
    note(f"making {asked.photos} photos, {asked.files} of them with files")
    began = time.monotonic()
    library = make_library(folder, asked.photos, asked.files, asked.files_sent)
    note(f"made in {time.monotonic() - began:.0f} s")
    return library


def _views(library: Library, asked: argparse.Namespace) -> Part:
    timed = views.measure_views(library, views.views_of(library), asked.rounds, asked.settings)
    export = views.measure_export(library, asked.settings)
    text = [
        f"### {library.photos} photos: {len(library.counts)} landmarks\n",
        table(views.TITLES, [each.row() for each in timed]),
        f"Cold: the first answer of a server of its own. Warm: medians of {asked.rounds} rounds, all views in turn.\n",
        "The quickest round is held against the target: others use this machine.\n",
        table(views.EXPORT_TITLES, [export.row()]),
    ]
    return "\n".join(text), {"views": [each.as_json() for each in timed], "export": export.as_json()}


def _uploads(library: Library, asked: argparse.Namespace) -> Part:
    sent = uploads.measure_uploads(library, asked.files_sent, asked.rounds, asked.settings)
    answers = sent.photos * asked.rounds
    text = [
        f"### {sent.photos} photos sent to be looked at\n",
        table(uploads.TITLES, sent.rows()),
        f"{answers - sent.different} of {answers} answers to photos sent at once are those to the same photos sent alone.\n",
        f"The server took {sent.peak_mib:.0f} MiB at most.\n",
    ]
    return "\n".join(text), sent.as_json()


def _thumbnails(library: Library, asked: argparse.Namespace) -> Part:
    found = thumbnails.measure_thumbnails(library, asked.rounds, asked.settings)
    text = f"### Thumbnails, {thumbnails.CONNECTIONS} asked for at a time\n\n"
    return text + table(thumbnails.TITLES, [each.row() for each in found]), [each.as_json() for each in found]


def _browser(library: Library, asked: argparse.Namespace) -> Part:
    if missing := chromium.why_not():
        return f"### In Chromium\n\nNot measured: {missing}.\n", None
    seen = chromium.measure_browser(library, asked.rounds, asked.screens, asked.settings)
    window = "{width} by {height}".format(**chromium.WINDOW)
    text = [
        f"### In Chromium {seen.version}, {window}\n",
        table(chromium.PAINT_TITLES, seen.paint_rows()),
        table(chromium.SCROLL_TITLES, [each.row() for each in seen.scrolled]),
    ]
    return "\n".join(text), seen.as_json()


PARTS: dict[str, Callable[[Library, argparse.Namespace], Part]] = {
    "views": _views,
    "uploads": _uploads,
    "thumbnails": _thumbnails,
    "browser": _browser,
}


def _write(folder: Path, report: list[str], figures: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text("\n".join(report))
    (folder / "report.json").write_text(json.dumps(figures, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=main.__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="FOLDER", help="photos to upload [drawn ones]"
    )
    parser.add_argument("--photos", type=int, default=100_000, help=f"a multiple of {JOBS} [100000]")
    parser.add_argument("--files", type=int, default=10_000, help="the first so many have real files [10000]")
    parser.add_argument("--uploads", type=int, default=50, help="photos sent at once [50]")
    parser.add_argument("--screens", type=int, default=200, help="so far the grid is scrolled [200]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--parts", type=_part_names, default=list(PARTS), help=f"[{','.join(PARTS)}]")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="an artifact [the one that ships]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where the report goes [{OUT}]")
    asked = parser.parse_args()
    if asked.photos % JOBS:
        parser.error(f"--photos: take a multiple of {JOBS}")
    asked.settings = {"model": str(asked.model.absolute()), "device": "cpu"}
    return asked


def _part_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    main()
