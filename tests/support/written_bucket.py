"""A bucket whose photos are tagged, written and restored in this process."""

from pathlib import Path

from support.buckets import Bucket
from support.written_folder import WrittenFolder

from tagger.database.connection import Database
from tagger.photos.paths import parse_path


class WrittenBucket(WrittenFolder):
    """A bucket whose photos are tagged, written and restored."""

    def __init__(self, database: Database, folder: Path, bucket: Bucket) -> None:
        super().__init__(database, folder)
        self.bucket = bucket

    def draw(self, name: str, label: int | None = 0, *, shade: int = 0) -> Path:
        path = super().draw(name, label, shade=shade)
        self.bucket.put(name, path)
        return path

    def tag_bucket(self) -> dict[str, str]:
        return self.tag(parse_path(self.bucket.address))

    def draw_and_tag(self, *names: str) -> dict[str, str]:
        """Draw a photo of a landmark of its own for each name, and tag the bucket."""
        for label, name in enumerate(names):
            self.draw(name, label)
        return self.tag_bucket()

    def objects(self) -> dict[str, bytes]:
        """The content of every object."""
        client, name = self.bucket.client, self.bucket.name
        keys = [row["Key"] for row in client.list_objects_v2(Bucket=name).get("Contents", ())]
        return {key: client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

    def refusal(self, name: str) -> tuple[str, str]:
        """The reason and the text why the latest job did not write a photo."""
        _outcome, reason, text = self.reasons(self.latest().job)[name]
        assert reason is not None
        assert text is not None
        return reason, text
