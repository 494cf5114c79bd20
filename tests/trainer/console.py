"""`trainer` as a person types it, in a process of its own."""

import os
import subprocess
import sys

NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
"""Nothing can be fetched: nobody listens on that port."""


def type_trainer(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `trainer` with these words says, and how it ends."""
    return subprocess.run(
        [sys.executable, "-c", "from trainer.cli.main import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | environment,
    )
