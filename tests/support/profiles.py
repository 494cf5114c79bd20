"""Minimal colour profiles for images that embed one."""

import itertools
import struct

WHITE = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)


def gray_profile() -> bytes:
    """A profile for gray images with a gamma of 2.2."""
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 0x0233)
    return colour_profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": WHITE, b"kTRC": curve})


def ink_profile(cyan: tuple[int, int, int]) -> bytes:
    """A CMYK profile of an imaginary press: cyan gives the colour `cyan` (L*a*b*), all other inks black."""
    identity = struct.pack(">9i", *(65536 if k % 4 == 0 else 0 for k in range(9)))
    straight = bytes(range(256))
    inks = itertools.product((0, 1), repeat=4)
    colours = {(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): cyan}
    corners = [colours.get(ink, (0, 0, 0)) for ink in inks]
    table = b"".join(bytes((round(light * 2.55), a + 128, b + 128)) for light, a, b in corners)
    lookup = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + straight * 4 + table + straight * 3
    return colour_profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": WHITE, b"A2B0": lookup})


def colour_profile(kind: bytes, colours: bytes, between: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of this class, from these colours, with these tags."""
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02100000, kind, colours, between)
    header = (header.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + WHITE[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
