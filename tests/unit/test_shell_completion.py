"""Shell completion of both programs."""

import subprocess
import sys

import pytest

COMPLETION = (
    "import sys\n"
    "sys.argv = [{program!r}]\n"
    "from {program}.cli.main import main\n"
    "try: main()\n"
    "finally: assert {unneeded!r} not in sys.modules"
)


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [("tagger", "tagger query --format ", "geojson"), ("trainer", "trainer train tr", "transfer")],
)
def test_completion_is_quick_because_it_does_not_import_torch(
    program: str, words: str, expected: str
) -> None:
    done = _complete(program, words, unneeded="torch")
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout.split()


def test_completing_the_name_of_a_command_imports_no_command() -> None:
    done = _complete("tagger", "tagger metad", unneeded="tagger.cli.commands")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["metadata"]


def _complete(program: str, words: str, *, unneeded: str) -> subprocess.CompletedProcess[str]:
    environment = {
        f"_{program.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    return subprocess.run(
        [sys.executable, "-c", COMPLETION.format(program=program, unneeded=unneeded)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
