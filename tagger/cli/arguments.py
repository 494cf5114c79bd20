"""The words of a command line before they are parsed: -q and -v anywhere, `help COMMAND`, and --help-all."""

HELP_ALL = "--help-all"
_FLAGS = {"-q", "--quiet", "-v", "-vv", "--verbose"}


def prepare_arguments(words: list[str]) -> tuple[list[str], bool]:
    """Return the words that the parser understands, and whether all options are to be shown in help.

    -q and -v come first, so that they work after the command too: `tagger tag FOLDER -q`. Words after `--` stay as they are.
    """
    if words[:1] == ["help"]:
        return [*(word for word in words[1:] if word != "all"), "--help"], words[1:2] == ["all"]
    end = words.index("--") if "--" in words else len(words)
    flags = [word for word in words[:end] if word in _FLAGS]
    others = ["--help" if word == HELP_ALL else word for word in words[:end] if word not in _FLAGS]
    return [*flags, *others, *words[end:]], HELP_ALL in words[:end]
