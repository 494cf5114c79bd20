"""What a file that is given as a model is instead: named by its first bytes, which people cannot see."""

import re

HEAD_BYTES = 512

_FORMATS = {
    "a Git LFS pointer in place of the model, which `git lfs pull` fetches": rb"version https://git-lfs",
    "a web page in place of the model; download the file itself": rb"(?:\xef\xbb\xbf)?\s*(?i:<!doctype html|<html|<head)",
    "an ONNX model, which this program does not read": rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]",
    "a file of weights alone (safetensors), without the network": rb"[\0-\xff]{5}\0{3}\{\s*\"",
    "a TensorFlow Lite model, which this program does not read": rb"[\0-\xff]{4}TFL3",
    "a file of weights alone (GGUF), without the network": rb"GGUF",
    "a file of Keras (HDF5), which this program does not read": rb"\x89HDF\r\n",
    "a checkpoint of torch (pickle), without the network's code": rb"\x80[\x02-\x05]",
    "a compressed archive; unpack it first": rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd",
}
_PATTERNS = {text: re.compile(pattern, re.DOTALL) for text, pattern in _FORMATS.items()}


def format_text(head: bytes) -> str | None:
    """What the file with these first bytes is; None for another one."""
    return next((text for text, pattern in _PATTERNS.items() if pattern.match(head)), None)
