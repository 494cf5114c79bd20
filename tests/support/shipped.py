"""The shipped model, and real photos for it."""

from pathlib import Path

import torch

import tagger
from tagger.model.artifact import file_digest, load_module, read_manifest

ARTIFACT = Path(tagger.__file__).parent / "shipped" / "landmarks.pt"


def shipped_module() -> torch.jit.ScriptModule:
    return load_module(ARTIFACT, file_digest(ARTIFACT))


def shipped_size() -> int:
    return read_manifest(ARTIFACT).input.size
