"""Parses the notifications with which buckets report changes: those of S3, MinIO and Ceph, alone or in an envelope of SNS or EventBridge.

An event is only a hint: only the address of the object is taken from it, and the bucket is asked whether the object exists.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from tagger.errors import ObjectAddressInvalid, ObjectEventsInvalid
from tagger.photos.paths import ObjectPath, parse_path

_CHANGES = ("ObjectCreated:", "ObjectRemoved:", "ObjectRestore:Completed", "LifecycleExpiration:")
"""The kinds of events after which an object may have appeared or disappeared. Others, such as reading it, are ignored."""
_EVENTBRIDGE_CHANGES = ("Object Created", "Object Deleted", "Object Restore Completed")
_LONGEST_KEY_BYTES = 1024
_SNS_SUBSCRIPTIONS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")


@dataclass(frozen=True)
class ObjectEvents:
    """The objects that may have changed, and the number of events that name none.

    `subscription`: the message asks to confirm a subscription; this is the topic.
    """

    objects: Sequence[ObjectPath] = ()
    ignored: int = 0
    subscription: str | None = None


def parse_object_events(data: bytes) -> ObjectEvents:
    """Read a notification.

    Raises:
        ObjectEventsInvalid: it is none.
    """
    document = _json(data)
    if document.get("Type") in _SNS_SUBSCRIPTIONS:
        return ObjectEvents(subscription=str(document.get("TopicArn")))
    if document.get("Type") == "Notification" and isinstance(message := document.get("Message"), str):
        document = _json(message)
    if document.get("Event") == "s3:TestEvent":
        return ObjectEvents()
    if isinstance(detail := document.get("detail"), Mapping):
        return _events([_eventbridge_object(document.get("detail-type"), detail)])
    if isinstance(records := document.get("Records"), list):
        return _events([_s3_object(record) for record in records])
    raise ObjectEventsInvalid(reason="it has neither Records nor detail")


def _json(text: str | bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ObjectEventsInvalid(reason="it is not JSON") from None
    if not isinstance(document, Mapping):
        raise ObjectEventsInvalid(reason="it is not a JSON object")
    return document


def _events(found: Sequence[ObjectPath | None]) -> ObjectEvents:
    objects = tuple(path for path in found if path is not None)
    return ObjectEvents(objects, len(found) - len(objects))


def _s3_object(record: object) -> ObjectPath | None:
    name, bucket, key = _values(record, ("eventName",), ("s3", "bucket", "name"), ("s3", "object", "key"))
    if not name.removeprefix("s3:").startswith(_CHANGES):
        return None
    try:
        return _object_path(bucket, unquote_plus(key, errors="strict"))
    except UnicodeDecodeError:
        return None


def _eventbridge_object(kind: object, detail: Mapping[str, Any]) -> ObjectPath | None:
    bucket, key = _values(detail, ("bucket", "name"), ("object", "key"))
    return _object_path(bucket, key) if kind in _EVENTBRIDGE_CHANGES else None


def _values(document: object, *paths: Sequence[str]) -> Iterator[str]:
    """The texts at these places of a document; empty where there is none."""
    for path in paths:
        value = document
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        yield value if isinstance(value, str) else ""


def _object_path(bucket: str, key: str) -> ObjectPath | None:
    """The address, if exactly this object can be read by it."""
    try:
        if len(key.encode()) > _LONGEST_KEY_BYTES or any(ord(each) < 32 or ord(each) == 127 for each in key):
            return None
        path = parse_path(f"s3://{bucket}/{key}")
    except (ObjectAddressInvalid, UnicodeEncodeError):
        return None
    is_same = isinstance(path, ObjectPath) and key and (path.bucket, path.key) == (bucket, key)
    return path if is_same and isinstance(path, ObjectPath) else None
