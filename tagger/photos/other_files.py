"""Files that a listing leaves out because their names are not those of photos: how many, and their extensions."""

from collections import Counter

MOST_EXTENSIONS = 1000
"""What follows the last dot of a name may be a number, or anything else."""
LONGEST_EXTENSION = 10


class OtherFiles:
    """Counts such files while a listing runs. Sidecars are not among them."""

    def __init__(self) -> None:
        self.count = 0
        self.by_extension: Counter[str] = Counter()
        """Without those that are rare, or too long to be one: its sum may be less than `count`."""

    def add(self, extension: str) -> None:
        """Count one more file; the extension begins with a dot, or is empty."""
        self.count += 1
        known = self.by_extension
        if extension in known or (1 < len(extension) <= LONGEST_EXTENSION and len(known) < MOST_EXTENSIONS):
            known[extension] += 1
