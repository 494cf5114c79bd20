"""Files that are given as a model and are none are named as what they are."""

import gzip
import json
import pickle
import struct
from pathlib import Path

import pytest

from tagger.errors import ModelRefused
from tagger.model.artifact import read_manifest

SAFETENSORS = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
FILES = {
    "a Git LFS pointer": POINTER,
    "a web page": b"\n<!DOCTYPE html><html><title>Sign in</title></html>",
    "an ONNX model": b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xd8\x01" + bytes(100),
    "weights alone (safetensors)": struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4),
    "a TensorFlow Lite model": b"\x1c\0\0\0TFL3" + bytes(100),
    "weights alone (GGUF)": b"GGUF\x03\0\0\0",
    "Keras (HDF5)": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "a checkpoint of torch (pickle)": pickle.dumps({"state": 1}, protocol=2),
    "a compressed archive": gzip.compress(b"model"),
    "not a TorchScript file": b"anything else",
    "not a TorchScript file.": b"",
}


@pytest.mark.parametrize("said", FILES)
def test_a_file_that_is_no_model_is_named(said: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(FILES[said])
    with pytest.raises(ModelRefused) as refused:
        read_manifest(file)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_page_in_other_letters_is_a_page(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"\xef\xbb\xbf<HTML lang=en>")
    with pytest.raises(ModelRefused, match="a web page"):
        read_manifest(file)
