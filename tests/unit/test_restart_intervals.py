"""Half of a JPEG's restart intervals, which a benchmark of decoders compares with all of them."""

import io

import numpy as np
import pytest
from PIL import Image

from bench.restart_intervals import without_every_second_interval


def _jpeg(image: Image.Image, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, "JPEG", quality=95, **options)  # type: ignore[arg-type]
    return output.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_second_row_of_blocks_is_left(mode: str) -> None:
    """Each row has a grey of its own; in colours it is 16 lines high, and there are more than eight markers."""
    height = 16 if mode == "RGB" else 8
    greys = [10 * number for number in range(20)]
    image = Image.fromarray(np.repeat(np.array(greys, np.uint8), height)[:, None].repeat(32, 1)).convert(mode)
    data = _jpeg(image, restart_marker_rows=1)
    with Image.open(io.BytesIO(without_every_second_interval(data))) as half:
        assert half.size == (32, 10 * height)
        lines = np.asarray(half.convert("L"))[height // 2 :: height, 0]
    assert lines.tolist() == pytest.approx(greys[::2], abs=2)


@pytest.mark.parametrize("options", [{}, {"progressive": True, "restart_marker_rows": 1}])
def test_a_jpeg_without_whole_intervals_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="restart markers"):
        without_every_second_interval(_jpeg(Image.new("RGB", (64, 64)), **options))
