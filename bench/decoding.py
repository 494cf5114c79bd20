"""Reads and decodes the photos that its arguments name, and nothing else: what no pipeline can save."""

import sys
from pathlib import Path

from bench.gpu import pixels

for name in sys.argv[1:]:
    pixels(Path(name))
