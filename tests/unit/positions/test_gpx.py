"""Reading GPX files: what counts as a point of a track, and how everything else is refused."""

import errno
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from support.examples import examples
from support.gpx_files import START_S, gpx_text, point_text, walk

from tagger.errors import ImportRefused, PathNotFound, SystemRefused
from tagger.positions.tracks import PointCounts, Points, open_gpx, read_segments

FILE = Path("walk.gpx")
MOST_BYTES = 1_200_000
NO_POINTS: Points = np.zeros((0, 3))


def read(text: str | bytes) -> tuple[list[Points], PointCounts]:
    counts = PointCounts()
    segments: list[Points] = []
    for piece in read_segments(io.BytesIO(text.encode() if isinstance(text, str) else text), FILE, counts):
        if piece.is_start:
            segments.append(NO_POINTS)
        segments[-1] = np.concatenate([segments[-1], piece.points])
    return segments, counts


def in_track(points: str) -> str:
    return f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>"


def test_points_of_all_segments_are_read_with_any_prefix_and_extensions():
    (first, second), counts = read(gpx_text(walk(3), [], walk(2, start_s=100)))
    assert (first[:, 0] - START_S).tolist() == [0, 10, 20]
    assert second.tolist() == [[START_S + 100, 48.0, 2.0], [START_S + 110, 48.0001, 2.0]]
    assert (counts.read, counts.used, counts.left_out) == (5, 5, {})
    text = (
        '<g:gpx xmlns:g="http://www.topografix.com/GPX/1/1"><g:trk><g:trkseg><g:trkpt lat="1.5" lon="2.5"><g:extensions>'
        "<time>2001-01-01T00:00:00Z</time><trkpt lat='9' lon='9'/></g:extensions><g:time>2019-05-03<!-- a -->T08:00:00Z</g:time>"
        "</g:trkpt></g:trkseg></g:trk></g:gpx>"
    )
    (points,), _ = read(text)
    assert points.tolist() == [[START_S, 1.5, 2.5]]
    text = '\n\n<?xml version="1.0"?>\n' + in_track(point_text(0, 48.5, 2.5)) + "\n&"
    assert (read(text)[1].fault or "").startswith(f"line {text.count(chr(10)) + 1}, column 1: ")


@pytest.mark.parametrize(
    "document",
    [
        '<gpx xmlns="http://www.topografix.com/GPX/1/0" version="1.0"><trk><trkseg>{}</trkseg></trk></gpx>',
        '<?xml version="1.0" encoding="windows-1252"?><gpx xmlns="http://www.topografix.com/GPX/1/1"><metadata><time>2001-01-01T00:00:00Z</time></metadata><trk><trkseg>{}</trkseg></trk></gpx>',
        "<!-- a --><gpx><wpt lat='1' lon='1'><time>2019-05-03T08:00:00Z</time></wpt><rte><rtept lat='1' lon='1'><time>2019-05-03T08:00:00Z</time></rtept></rte><trk><trkseg>{}</trkseg></trk></gpx>",
    ],
)
def test_only_points_of_tracks_count_in_every_version(document):
    (points,), counts = read(document.format(point_text(0, 48.5, 2.5)))
    assert (points.tolist(), counts.read) == ([[START_S, 48.5, 2.5]], 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("start", ["", "\n", "\r\n \t\r\n", "\ufeff", "\n\ufeff\n"])
@pytest.mark.parametrize(
    "declaration", ["", '<?xml version="1.0"?>\n', '<?xml version="1.0" encoding="UTF-8"?>\n']
)
def test_blanks_and_marks_at_the_start_do_not_matter_in_any_encoding(encoding, start, declaration):
    document = gpx_text(walk(2)).removeprefix('<?xml version="1.0"?>\n')
    (points,), counts = read((start + declaration + document).encode(encoding))
    assert (len(points), counts.fault) == (2, None)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2019-05-03T08:00:00Z", 0),
        (" 2019-05-03T08:00:00.123456789Z\n", 0.123456),
        ("2019-05-03T10:30:00+02:30", 0),
        ("2019-05-02T22:00:00.5-10:00", 0.5),
        ("2019-05-03 08:00Z", 0),
    ],
)
def test_times_have_zones_and_fractions(time, seconds):
    (points,), _ = read(in_track(f'<trkpt lat="1" lon="2"><time>{time}</time></trkpt>'))
    assert points[0, 0] == pytest.approx(START_S + seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ('<trkpt lat="1" lon="2"/>', "without_time"),
        ('<trkpt lat="1" lon="2"><time> </time></trkpt>', "without_time"),
        *(
            (f'<trkpt lat="1" lon="2"><time>{time}</time></trkpt>', "invalid_time")
            for time in (
                "2019-05-03",
                "2019-13-03T08:00:00Z",
                "1970-01-01T00:00:00Z",
                "9999-12-31T23:59:59-23:59",
                "2019-05-03T08:00:00Z" * 1000,
            )
        ),
        *(
            (f"<trkpt {position}><time>2019-05-03T08:00:00Z</time></trkpt>", "invalid_position")
            for position in (
                'lat="1"', 'lat="NaN" lon="2"', 'lat="90.1" lon="2"', 'lat="48,5" lon="2"',
                'lat="1_0" lon="2"', 'lat="0" lon="0.0"',
            )
        ),
    ],
)  # fmt: skip
def test_a_point_without_a_valid_time_and_position_is_counted(point, reason):
    segments, counts = read(in_track(point + point_text(0, 48, 2)))
    assert [segment.tolist() for segment in segments] == [[[START_S, 48, 2]]]
    assert (counts.read, counts.left_out) == (2, {reason: 1})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no XML at all", "line 1, column 1: syntax error"),
        ("<kml/>", "line 1: its first element is 'kml' and not 'gpx'"),
        (gpx_text(walk(2)).replace("</trkpt>\n", "</trk>\n"), "line 2, column 128: mismatched tag"),
        ('<!DOCTYPE gpx [<!ENTITY a "b">]><gpx>&a;</gpx>', "line 1: it has a document type"),
        ("<gpx>&a;</gpx>", "undefined entity"),
        ("<gpx>" + "<a>" * 100, "line 1: more than 100 elements are inside each other"),
        ('<?xml version="1.0" encoding="zlib"?><gpx/>', "its encoding 'zlib' is not supported"),
    ],
)
def test_what_is_no_gpx_is_refused_with_its_line(text, reason):
    with pytest.raises(ImportRefused) as refused:
        read(text)
    assert reason in str(refused.value)


@pytest.mark.parametrize("start", ["<!--", "<a b='", "<?a ", "<", "<a ", "&", "</gpx"])
def test_a_tag_or_comment_of_any_length_is_refused_after_its_first_bytes(start):
    """expat before 2.6 reads it again from its start with each block, which takes quadratic time."""
    file = io.BytesIO((gpx_text(walk(10)).partition("</gpx>")[0] + start + "a" * (8 << 20)).encode())
    with pytest.raises(ImportRefused, match="line 12: a tag or comment is longer than 1 MiB"):
        list(read_segments(file, FILE, PointCounts()))
    assert file.tell() < 3 << 20


@pytest.mark.parametrize("content", ["<!--{}-->", "<desc>{}</desc>", "<a><![CDATA[{}]]></a>", "<a b='{}'/>"])
def test_long_texts_are_read(content):
    """Texts are read in pieces, however long. Others have half a MiB, such as that of a photo."""
    length = (4 << 20) if content.startswith(("<desc>", "<a><!")) else (1 << 19)
    _, counts = read(gpx_text(walk(10)).replace("</gpx>", content.format("a" * length) + "</gpx>"))
    assert (counts.used, counts.fault) == (10, None)


_WALK = gpx_text(walk(3_000), walk(10, start_s=50_000))
_POINT = point_text(*walk(3_000)[-1])


@pytest.mark.parametrize(
    ("text", "used", "lost", "fault"),
    [
        pytest.param(_WALK.encode() + b"\xff", 3_010, 0, "line 3013, column 1: not well-formed", id="junk"),
        pytest.param(
            _WALK.replace("</gpx>", "</gpz>"),
            3_010,
            0,
            "line 3012, column 18: mismatched tag",
            id="mismatched end",
        ),
        pytest.param(
            _WALK.partition(_POINT)[0], 2_999, 0, "line 3001, column 1: no element", id="cut between points"
        ),
        pytest.param(
            _WALK.partition(_POINT)[0] + _POINT[:15], 2_999, 1, "line 3001, column 1: unclosed", id="in a tag"
        ),
        pytest.param(
            _WALK.partition(_POINT)[0] + _POINT[:70], 2_999, 1, "line 3001, column 71", id="in a time"
        ),
        pytest.param(
            _WALK.replace(_POINT, _POINT.replace("<ele>", "\0" * 512)), 2_999, 11, "line 3001", id="bad block"
        ),
        pytest.param(_WALK.replace(_POINT, "&" * 300_000 + _POINT), 2_999, 11, "line 3001", id="long junk"),
        pytest.param(_WALK.replace(_POINT, _POINT + "</trk>"), 3_000, 10, "mismatched tag", id="structure"),
    ],
)
def test_the_points_before_the_place_where_a_file_breaks_off_are_read(text, used, lost, fault):
    segments, counts = read(text)
    assert (sum(map(len, segments)), counts.used, counts.unreadable) == (used, used, lost)
    assert fault in str(counts.fault)


def test_only_files_with_content_are_opened(tmp_path):
    (tmp_path / "empty.gpx").touch()
    with (tmp_path / "large.gpx").open("wb") as large:
        large.truncate((2 << 30) + 1)
    for path, reason in (
        (tmp_path, "it is a folder"),
        (tmp_path / "empty.gpx", "it is empty"),
        (tmp_path / "large.gpx", "it is larger than 2 GiB"),
        (Path("/dev/zero"), "it is a pipe or a device"),
    ):
        with pytest.raises(ImportRefused, match=reason), open_gpx(path):
            pass
    with pytest.raises(PathNotFound), open_gpx(tmp_path / "gone.gpx"):
        pass


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    class Failing(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(SystemRefused, match=r"refuses access to 'walk\.gpx': input/output error"):
        list(read_segments(Failing(), FILE, PointCounts()))


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["48.5", "1e400", "1_0", "2019-05-03T08:00:00Z", "2019-W18-5T08:00", "T:"]
)


@given(
    st.text("abcdef-_0123456789", max_size=10) | st.sampled_from(["utf-8", "utf-16", "cp1250"]),
    TEXTS,
    TEXTS,
    st.binary(max_size=9),
)
@example("iso-8859-16", "", "", b"\xff")
@examples(13)
def test_wild_documents_are_read_or_refused(encoding, latitude, time, tail):
    point = f"<trkpt lat={quoteattr(latitude)} lon='1'><time>{escape(time)}</time></trkpt>"
    text = f'<?xml version="1.0" encoding="{encoding}"?>{in_track(point)}'
    document = text.encode(errors="replace") + tail
    try:
        segments, counts = read(document)
    except ImportRefused:
        return
    points = np.concatenate([NO_POINTS, *segments])
    assert len(points) == counts.used
    assert np.isfinite(points).all()
    assert (np.abs(points[:, 1:]) <= [90, 180]).all()


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("points", [9_000, pytest.param(180_000, marks=pytest.mark.slow)])
def test_memory_is_flat(points, tmp_path):
    file, counts = tmp_path / "long.gpx", PointCounts()
    start, end = gpx_text([]).split("</trkseg>")
    with file.open("w") as text:
        text.write(start)
        text.writelines(point_text(number, 48 + number % 10_000 * 1e-6, 2.0) for number in range(points))
        text.write(f"</trkseg>{end}")
    with file.open("rb") as opened:
        pieces = read_segments(opened, FILE, counts)
        assert peak_bytes(lambda: sum(len(piece.points) for piece in pieces)) < MOST_BYTES
    assert counts.used == points


def test_memory_is_flat_for_text_without_end():
    text = b"<gpx><trk><trkseg><trkpt lat='1' lon='1'><time>" + b"1" * 3_000_000
    text += b"</time></trkpt><wpt/></trkseg></trk>" + b"<wpt/>" * 20_000 + b"</gpx>"
    assert peak_bytes(lambda: read(text)) < len(text) + MOST_BYTES
    assert read(text)[1].left_out == {"invalid_time": 1}
