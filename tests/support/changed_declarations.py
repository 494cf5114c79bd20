"""A module of the program with another text, for programs that declare one thing more."""

import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path


def import_changed(name: str, text: str, changed: str) -> None:
    """Import a module that nothing has imported yet, with `changed` instead of `text` in its source."""
    spec = find_spec(name)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    source = Path(str(spec.origin)).read_text()
    assert text in source
    exec(source.replace(text, changed), vars(module))
