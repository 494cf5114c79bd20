"""The name of the time zone of this machine, as TZ states it."""

import pytest

from tagger.jobs.enqueue.schedules import local_zone


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Europe/Paris", "Europe/Paris"),
        (":Europe/Paris", "Europe/Paris"),
        ("CST6CDT", "CST6CDT"),
        ("EST5EDT,M3.2.0,M11.1.0", None),
        ("FOO3:17", None),
    ],
)
def test_a_zone_has_a_name_and_a_rule_has_none(
    monkeypatch: pytest.MonkeyPatch, value: str, name: str | None
) -> None:
    monkeypatch.setenv("TZ", value)
    assert local_zone() == name
