"""Shell completion of both programs."""

import subprocess
import sys

import pytest

COMPLETION = (
    "import sys\n"
    "sys.argv = [{program!r}]\n"
    "from {program}.cli.main import main\n"
    "try: main()\n"
    "finally: assert 'torch' not in sys.modules"
)


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [("tagger", "tagger query --format ", "geojson"), ("trainer", "trainer train tr", "transfer")],
)
def test_completion_is_quick_because_it_does_not_import_torch(
    program: str, words: str, expected: str
) -> None:
    environment = {
        f"_{program.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPLETION.format(program=program)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout.split()
