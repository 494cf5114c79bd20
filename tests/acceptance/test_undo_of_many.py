"""Undo of a thousand photos: while files of the same stem appear beside them, every byte comes back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.commands import LABELS, draw

COUNT, EMBEDDED = 1000, 100
SIBLINGS = (".MOV", ".AAE", ".JPG_original", ".json", ".xmp~")
SIDECAR_OF_USER = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def appearing(siblings: dict[Path, bytes]) -> Iterator[None]:
    """Let these files appear one after the other while something else runs."""
    stop = threading.Event()

    def create() -> None:
        for path, data in siblings.items():
            path.write_bytes(data)
            stop.wait(0.002)

    thread = threading.Thread(target=create)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_a_thousand_photos_are_undone_byte_for_byte_while_files_appear_beside_them(
    tagger_with_redis: CommandRunner, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    photos = [folder / f"{number // 100}" / f"IMG_{number:04}.JPG" for number in range(COUNT)]
    for number, photo in enumerate(photos):
        draw(photo, number % len(LABELS), seed=number)
        if number % 2:  # every second one has the sidecar of its stem, by another program
            photo.with_suffix(".xmp").write_bytes(SIDECAR_OF_USER)
    before = files(folder)
    assert tagger_with_redis("tag", folder).code == 0
    siblings = {
        photo.with_suffix(SIBLINGS[number % len(SIBLINGS)]): b"another program"
        for number, photo in enumerate(photos)
    }
    middle = dict(list(siblings.items())[::2])
    late = {path: data for path, data in siblings.items() if path not in middle}

    assert tagger_with_redis("metadata", "write", "--to", "embed", folder / "0").code == 0
    with appearing(middle):
        assert tagger_with_redis("metadata", "write", "--to", "sidecar").code == 0
    written = {name for name, data in files(folder).items() if b"landmark-tagger" in data}
    assert sum(name.endswith(".xmp") for name in written) == COUNT
    assert sum(name.endswith(".JPG") for name in written) == EMBEDDED
    with appearing(late):
        undone = tagger_with_redis("metadata", "undo", "--all")
    assert undone.code == 0, undone.err
    after = files(folder)
    appeared = {str(path.relative_to(folder)): data for path, data in siblings.items()}
    assert after.keys() == {**before, **appeared}.keys()
    assert [name for name, data in {**before, **appeared}.items() if after[name] != data] == []
