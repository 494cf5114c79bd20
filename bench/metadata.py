"""Tags embedded into copies of photos, looked at from every side, and taken back: what comes of each file.

    python -m bench.metadata FOLDER… [--files N]
    python -m bench.metadata --scale N

Photos are copied before anything is written. Each file must come back byte for byte, with the same pixels meanwhile and
nothing of its metadata lost, as exiftool sees it where that is installed; otherwise this ends with code 1. With --scale
it is the command itself, over so many drawn photos, killed on the way.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.outcomes import files_in
from bench.report import median, note, print_heading, print_table
from bench.rewritten import PLAN, PREPARE, REPLACE, STEPS, UNDO, Copies, Tried, try_photo
from bench.second_opinion import is_installed, lost_fields, new_warnings, owners_fields, said_of

AIM = 0.9
"""Share of the JPEGs that can be seen which ought to be embedded. Two shares are told, with half files and without."""


def main() -> None:
    """Write tags into copies of photos and take them back, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.metadata", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--files", type=int, help="so many of each folder, evenly spread")
    parser.add_argument(
        "--scale", type=int, metavar="N", help="the command over N drawn photos, killed on the way"
    )
    asked = parser.parse_args()
    if not asked.folders and asked.scale is None:
        parser.error("name a folder with photos, or --scale N")
    for folder in asked.folders:
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    print_heading("Metadata")
    problems = [problem for folder in asked.folders for problem in examine(folder, asked.files)]
    if asked.scale is not None:
        from bench.written_library import write_many

        problems += write_many(asked.scale)
    for problem in problems:
        print(f"- **wrong**: {problem}")
    raise SystemExit(1 if problems else 0)


def examine(folder: Path, count: int | None) -> list[str]:
    """Try a folder's files, print what came of them, and return what is wrong."""
    files = [file for file in files_in(folder) if file.is_file() and not file.is_symlink()]
    chosen = _spread(files, count)
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as made:
        copies = Copies.below(Path(made))
        tried = {}
        for number, file in enumerate(chosen):
            name = f"{number:05}{file.suffix.lower()}"
            tried[name] = try_photo(file, name, copies)
            if number % 100 == 99:
                note(f"{folder.name}: {number + 1} of {len(chosen)}")
        compared = _ask_exiftool(tried, copies)
    _print(folder, list(tried.values()), compared)
    return [f"{folder.name}/{each.name}: {wrong}" for each in tried.values() for wrong in each.wrong]


def _spread(files: Sequence[Path], count: int | None) -> Sequence[Path]:
    if count is None or count >= len(files):
        return files
    return [files[number * len(files) // count] for number in range(count)]


def _ask_exiftool(tried: dict[str, Tried], copies: Copies) -> int:
    """Note whatever exiftool does not find again in the files that were embedded; returns how many fields it was asked for."""
    if not is_installed():
        return 0
    before, after = said_of(copies.before), said_of(copies.after)
    for name, fields in before.items():
        lost = lost_fields(fields, after.get(name, {}))
        tried[name].wrong += [f"exiftool finds another {field}" for field in lost]
        tried[name].wrong += [
            f"exiftool says now: {text}" for text in new_warnings(fields, after.get(name, {}))
        ]
    return sum(len(owners_fields(fields)) for fields in before.values())


def _print(folder: Path, tried: Sequence[Tried], compared: int) -> None:
    print(
        f"### {folder.name}: {len(tried)} files, {sum(each.size_bytes for each in tried) / 2**20:.0f} MiB\n"
    )
    _print_outcomes(tried)
    _print_counts("refused, or a sidecar instead, because", [each.reason for each in tried if each.reason])
    _print_counts("EXIF left alone, XMP alone written", [text for each in tried for text in each.notes])
    _print_kept([each for each in tried if each.embedded])
    _print_times(tried)
    _print_checks(tried, compared)


def _print_outcomes(tried: Sequence[Tried]) -> None:
    jpegs = [each for each in tried if each.is_jpeg]
    groups = {
        "files": tried,
        "JPEGs": jpegs,
        "JPEGs that the tagger decodes": [each for each in jpegs if each.seen],
        "JPEGs that decode whole": [each for each in jpegs if each.decodes_whole],
    }
    counts = [Counter(each.outcome for each in group) for group in groups.values()]
    rows = [(outcome, *(count[outcome] for count in counts)) for outcome in sorted(counts[0])]
    print_table(("outcome", *groups), [*rows, ("**together**", *map(len, groups.values()))])
    for name, group in list(groups.items())[2:]:
        if group:
            share = sum(each.embedded for each in group) / len(group)
            print(f"Of the {name}, {share:.1%} were embedded (aim: {AIM:.0%}).\n")


def _print_counts(title: str, texts: Iterable[str]) -> None:
    counted = Counter(texts).most_common()
    if counted:
        print_table((title, "files"), counted)


def _print_kept(embedded: Sequence[Tried]) -> None:
    if not embedded:
        return
    kept = [each.kept_bytes for each in embedded]
    shares = [100 * each.kept_bytes / each.size_bytes for each in embedded]
    rows = [
        ("bytes", median(kept), max(kept)),
        ("percent of the file", median(shares), max(shares)),
        ("percent of all files together", 100 * sum(kept) / sum(each.size_bytes for each in embedded), ""),
    ]
    print_table(("kept for undoing a photo", "median", "most"), rows)


def _print_times(tried: Sequence[Tried]) -> None:
    embedded = [each for each in tried if each.embedded and not each.wrong]
    if not embedded:
        return
    rows = []
    for step in STEPS:
        spent = [each.spent[step] for each in embedded if step in each.spent]
        rows.append(
            (
                step,
                1000 * sum(each.cpu_s for each in spent) / len(spent),
                1000 * sum(each.wall_s for each in spent) / len(spent),
                1000 * max(each.wall_s for each in spent),
            )
        )
    print_table(("of files embedded, one at a time", "CPU ms/file", "wall ms/file", "most wall ms"), rows)
    wall_s = sum(each.spent[step].wall_s for each in embedded for step in (PLAN, PREPARE, REPLACE))
    print(f"{len(embedded) / wall_s:.0f} files/s written, {_rate(embedded):.0f} files/s taken back.\n")


def _rate(embedded: Sequence[Tried]) -> float:
    return len(embedded) / sum(each.spent[UNDO].wall_s for each in embedded)


def _print_checks(tried: Sequence[Tried], compared: int) -> None:
    wrong = [text for each in tried for text in each.wrong]
    rows = [
        ("fields of the owner's compared by exiftool", compared if is_installed() else "not installed"),
        ("of these lost or changed", _beginning(wrong, "exiftool finds")),
        ("new warnings of exiftool", _beginning(wrong, "exiftool says")),
        ("photos decoded before and after", sum(each.seen for each in tried)),
        ("of these with other pixels", _beginning(wrong, "other pixels")),
        ("files written or given a sidecar", sum(UNDO in each.spent for each in tried)),
        ("sidecars made", sum(each.wrote_sidecar for each in tried)),
        ("not the same bytes after undo", _beginning(wrong, "not the same") + _beginning(wrong, "not taken")),
        ("sidecars or other files left behind", _beginning(wrong, "left behind")),
        ("anything else", _beginning(wrong, "raised") + _beginning(wrong, "changed")),
    ]
    print_table(("checked", "count"), rows)


def _beginning(texts: Iterable[str], begin: str) -> int:
    return sum(text.startswith(begin) for text in texts)


if __name__ == "__main__":
    main()
