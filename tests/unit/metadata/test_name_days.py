"""The day in a file's name."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.stated_facts import day_in_name

AUGUST = datetime(2015, 8, 22)  # noqa: DTZ001


@pytest.mark.parametrize(
    "name",
    [
        *(
            "IMG-20150822-WA0001.jpg",
            "IMG_20150822_100819.jpg",
            "IMG20150822100819.jpg",
            "20150822_100819.jpg",
        ),
        *("20150822.jpg", "PXL_20150822_213803123.MP.jpg", "PXL_20150822_213803123.PORTRAIT-01.COVER.jpg"),
        *("Screenshot_20150822-100819.png", "Screenshot_2015-08-22-10-08-19-123_com.app.jpg"),
        *("Screenshot 2015-08-22 at 10.08.19.png", "2015-08-22 10.08.19.jpg", "2015-08-22 10.08.19-1.jpg"),
        *("photo_2015-08-22_10-08-19.jpg", "signal-2015-08-22-100819.jpeg", "WP_20150822_10_08_19_Pro.jpg"),
        *(
            "2015_08_22 in Paris.jpg",
            "2015.08.22.jpg",
            "20150822T100819.jpg",
            "2019-01-01/20150822100819123.jpg",
        ),
        *(
            "2015-8-22.jpg",
            "2015.8.22 Anna.jpg",
            "Paris 2015-8-22-3.jpg",
            "22.08.2015.jpg",
            "Anna 22.8.2015.jpg",
        ),
        *("22.08.2015 10.08.19.jpg", "FB_IMG_1440230899000.jpg", "1440230899000.jpg", "1440230899000(1).jpg"),
        *("IMG_20150822_100819~2.jpg", "IMG_20150822_100819(1).jpg", "été20150822.jpg"),
    ],
)
def test_names_with_a_day(name: str) -> None:
    assert day_in_name(f"holidays/{name}") == AUGUST


@pytest.mark.parametrize(
    "name",
    [
        *("IMG_0001.jpg", "IMG_20151322_100819.jpg", "IMG_20150230.jpg", "12345678.jpg", "19001231.jpg"),
        *("received_10153412345678901.jpg", "14402308990001.jpg", "2015-08.jpg", "2015-8.jpg"),
        *(
            "IMG_2015_8_2.jpg",
            "IMG 2015 8 2.jpg",
            "144023089900.jpg",
            "9440230899000.jpg",
            "3fa1440230899000.jpg",
        ),
        *(
            "31.02.2015.jpg",
            "8.22.2015.jpg",
            "22.08.15.jpg",
            "2015-8-22 and 2015-8-23.jpg",
            "1999999999999.jpg",
        ),
        *("22-08-2015.jpg", "3fa20150822.jpg", "20150822abc.jpg", "201508221.jpg", "20150822_20150823.jpg"),
        *("1920-10-80.jpg", "20150822256199.jpg", "1799-01-01.jpg", "", "."),
    ],
)
def test_names_without_one(name: str) -> None:
    assert day_in_name(name) is None


def test_scans_are_older_and_no_photo_is_of_the_future() -> None:
    assert day_in_name("1955-07-04 Anna.jpg") == datetime(1955, 7, 4)  # noqa: DTZ001
    assert day_in_name(f"IMG_{datetime.now(UTC) + timedelta(days=3):%Y%m%d}.jpg") is None
    assert day_in_name("IMG_20991231.jpg") is None


@given(st.text(alphabet="0123456789-_. TIMGé/", max_size=40))
def test_any_name_has_one_day_or_none(name: str) -> None:
    day = day_in_name(name)
    assert day is None or day.hour == day.minute == 0
