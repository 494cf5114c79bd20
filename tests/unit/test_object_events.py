"""Notifications of buckets, in all their envelopes, and anything that is none."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.errors import ObjectEventsInvalid
from tagger.photos.object_events import ObjectEvents, parse_object_events


def record(key: str, name: str = "ObjectCreated:Put", bucket: str = "holidays") -> dict[str, Any]:
    """An event as S3 sends it."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-11-22T14:00:00.000Z",
        "eventName": name,
        "s3": {
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {
                "key": key,
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "sequencer": "0",
            },
        },
    }


def sns(message: str, kind: str = "Notification") -> dict[str, str]:
    return {
        "Type": kind,
        "MessageId": "1",
        "TopicArn": "arn:aws:sns:eu-central-1:1:photos",
        "Message": message,
        "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription",
        "Token": "t",
    }


def parsed(document: object) -> ObjectEvents:
    return parse_object_events(json.dumps(document).encode())


def paths(document: object) -> list[str]:
    return [str(path) for path in parsed(document).objects]


def test_keys_are_decoded() -> None:
    records = [record("2026/caf%C3%A9+1%2B1.jpg"), record("a%2520b.jpg")]
    assert paths({"Records": records}) == ["s3://holidays/2026/café 1+1.jpg", "s3://holidays/a%20b.jpg"]


def test_minio_and_ceph_send_the_same() -> None:
    minio = {
        "EventName": "s3:ObjectCreated:Put",
        "Key": "holidays/a.jpg",
        "Records": [record("a.jpg", "s3:ObjectCreated:Put")],
    }
    ceph = {"Records": [record("b.jpg", "ObjectRemoved:DeleteMarkerCreated") | {"eventId": "1"}]}
    assert paths(minio) + paths(ceph) == ["s3://holidays/a.jpg", "s3://holidays/b.jpg"]


def test_a_photo_that_is_read_is_no_change() -> None:
    names = ("s3:ObjectAccessed:Get", "ObjectTagging:Put", "ReducedRedundancyLostObject", "")
    assert parsed({"Records": [record("a.jpg", name) for name in names]}) == ObjectEvents((), len(names))


def test_envelopes_of_sns_and_eventbridge() -> None:
    inner = {"Records": [record("a+b.jpg")]}
    assert paths(sns(json.dumps(inner))) == ["s3://holidays/a b.jpg"]
    detail = {"bucket": {"name": "holidays"}, "object": {"key": "a+b.jpg", "size": 5, "etag": "e"}}
    eventbridge = {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}
    assert paths(eventbridge) == ["s3://holidays/a+b.jpg"]
    assert paths(eventbridge | {"detail-type": "Object Tags Added"}) == []
    assert parsed({"Service": "Amazon S3", "Event": "s3:TestEvent"}) == ObjectEvents()


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_a_subscription_is_told_and_its_message_is_not_read(kind: str) -> None:
    message = sns(json.dumps({"Records": [record("a.jpg")]}), kind)
    assert parsed(message) == ObjectEvents(subscription="arn:aws:sns:eu-central-1:1:photos")


@pytest.mark.parametrize(
    "key",
    [
        *("", "a//b.jpg", "/a.jpg", "a/", "./a.jpg", "../secret/a.jpg", "a/../b.jpg", "a%00.jpg"),
        *("a%0A.jpg", "%FF.jpg", "a\ud800.jpg", "x" * 1025),
    ],
)
def test_keys_that_name_no_object_or_another_one_are_ignored(key: str) -> None:
    assert parsed({"Records": [record(key), record("good.jpg")]}).ignored == 1


@pytest.mark.parametrize("bucket", ["", "../x", "holidays?x", "user:secret@holidays", "x" * 500])
def test_what_is_no_bucket_is_ignored(bucket: str) -> None:
    assert parsed({"Records": [record("a.jpg", bucket=bucket)]}) == ObjectEvents((), 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"Records": {}}',
        b'{"detail": 1}',
    ],
)
def test_what_is_no_notification_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(ObjectEventsInvalid, match="no notification of a bucket"):
        parse_object_events(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON, st.sampled_from(["eventName", "s3", "bucket", "object", "key", "name"]))
def test_any_document_is_read_or_refused(part: object, name: str) -> None:
    document = {"Records": [record("a.jpg"), _replaced(record("a.jpg"), name, part), part], "detail": part}
    try:
        events = parsed(document)
    except ObjectEventsInvalid:
        return
    assert all(str(path).startswith("s3://") for path in events.objects)


def _replaced(document: dict[str, Any], name: str, part: object) -> dict[str, Any]:
    """The document with another value of this name, at any depth."""
    return {
        key: part if key == name else _replaced(value, name, part) if isinstance(value, dict) else value
        for key, value in document.items()
    }


@given(st.text(min_size=1, max_size=100))
def test_any_key_is_the_same_object_or_ignored(key: str) -> None:
    try:
        sent = quote_plus(key)
    except UnicodeEncodeError:
        return
    (path,) = parsed({"Records": [record(sent)]}).objects or (None,)
    assert path is None or path.key == key
