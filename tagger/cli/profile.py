"""The table of `tagger tag --profile`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tagger.profiling import Profile


def print_profile(profile: Profile, photos: int) -> None:
    """Processor time per photo and stage, on stderr; loading the model, before the first photo, is not in it."""
    cores = profile.total_s / max(profile.wall_s, 0.001)
    lines = [f"processor time of {photos} photos, {cores:.1f} cores busy:"]
    for stage, used_s in [*profile.stages.items(), ("rest", profile.rest_s), ("all", profile.total_s)]:
        share = used_s / max(profile.total_s, 1e-9)
        lines.append(f"  {stage:<7} {used_s / max(photos, 1) * 1000:8.2f} ms a photo  {share:4.0%}")
    sys.stderr.write("\n".join(lines) + "\n")
