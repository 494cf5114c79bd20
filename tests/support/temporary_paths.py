"""Where a writer puts the new file before it replaces the old one."""

from pathlib import Path

from tagger.metadata.photo_files import temporary_name


def temporary_path(path: Path) -> Path:
    return path.with_name(temporary_name(path.name))
