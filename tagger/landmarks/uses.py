"""What refers to a landmark: labels of models, the images with tags and verdicts, and the classifiers that were learned from them."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, func, select, union, update

from tagger.database.statements import lock_tables
from tagger.database.tables import classifiers, model_labels, models, tags, taught_tags, verdicts
from tagger.landmarks.landmarks import Landmark
from tagger.tags.contents import lock_contents
from tagger.tags.settlement import begin_change


def begin_change_of(connection: Connection, *changing: Landmark) -> None:
    """Begin a change of all images of these landmarks, and make writers of tags and verdicts wait."""
    while True:
        images = _images_of(connection, changing)
        # Those writers lock an image first, too. An image that got a landmark meanwhile must not be waited for: all locks are
        # taken again.
        with connection.begin_nested() as locks:
            lock_contents(connection, images)
            lock_uses(connection)
            if _images_of(connection, changing) <= images:
                begin_change(connection, images)
                return
            locks.rollback()


def _images_of(connection: Connection, of: Sequence[Landmark]) -> set[int]:
    """The ids of images with a tag, a taught tag or a verdict of these landmarks."""
    ids = [landmark.id for landmark in of]
    queries = (
        select(table.c.content_id).where(table.c.landmark_id.in_(ids))
        for table in (tags, taught_tags, verdicts)
    )
    return set(connection.scalars(union(*queries)))


def lock_uses(connection: Connection) -> None:
    """Make writers of tags and verdicts wait."""
    lock_tables(connection, tags, verdicts)


def retire_classifiers(connection: Connection, landmark: Landmark) -> int:
    """Let workers read the classifiers again, without the landmark's. Returns the number of its taught tags.

    This waits for workers that compare images with its classifiers: they lock the version first, and tags later.
    """
    of_landmark = classifiers.c.landmark_id == landmark.id
    using = models.c.id.in_(select(classifiers.c.model_id).where(of_landmark))
    connection.execute(update(models).where(using).values(taught_version=models.c.taught_version + 1))
    count = select(func.count()).where(taught_tags.c.landmark_id == landmark.id)
    return connection.scalar(count) or 0


def move_labels(connection: Connection, landmark_id: int, slugs: Collection[str], to: int) -> None:
    """Assign those labels of a landmark that have one of these slugs in their manifests to another one."""
    query = (
        select(models.c.manifest, model_labels.c.model_id, model_labels.c.position)
        .join(models, models.c.id == model_labels.c.model_id)
        .where(model_labels.c.landmark_id == landmark_id)
    )
    for row in connection.execute(query).all():
        if row.manifest["labels"][row.position]["slug"] in slugs:
            label = model_labels.c.model_id == row.model_id, model_labels.c.position == row.position
            connection.execute(update(model_labels).where(*label).values(landmark_id=to))
