"""The SQL tables. Users query them directly, so they hold plain values under plain names.

The reference of the tables, docs/reference/tables.md, is generated from `doc` of each column and of each
table's `info`.

Photos and their tags: roots → mounts, photos → contents → classifications, tags, verdicts and dismissals,
landmarks, models. Things: contents, models → image_things → things; thing_verdicts. Sights: sight_verdicts.
Teaching: contents → embeddings and taught_tags; embeddings → sketches; verdicts →
classifiers; positions → looks → look_photos.
Positions: photos, cameras, tracks → positions. Trips: photos, positions → visits; cameras → trip_edits.
Numbers: photos, positions, tags → day_places, day_landmarks.
Work: jobs → job_models, job_items and chunks. Who did what: audit_log.

These modules define tables only; the rules for writing them are in the packages above.
"""

# ruff: noqa: I001 - the reference has the tables in this order
from tagger.database.tables.column_types import (
    UtcDateTime as UtcDateTime,
    metadata as metadata,
    views as views,
)
from tagger.database.tables.photo_tables import (
    NO_FAILURE as NO_FAILURE,
    FAILING as FAILING,
    IN_FOLDERS as IN_FOLDERS,
    PRESENT as PRESENT,
    UNTAGGED as UNTAGGED,
    cameras as cameras,
    contents as contents,
    mounts as mounts,
    photos as photos,
    roots as roots,
)
from tagger.database.tables.tag_tables import (
    SKETCHED_BLOCK as SKETCHED_BLOCK,
    classifications as classifications,
    classifiers as classifiers,
    dismissals as dismissals,
    effective_tags as effective_tags,
    favourites as favourites,
    photo_tags as photo_tags,
    photos_view as photos_view,
    embeddings as embeddings,
    is_candidate as is_candidate,
    landmarks as landmarks,
    look_photos as look_photos,
    looks as looks,
    model_labels as model_labels,
    models as models,
    sketches as sketches,
    tags as tags,
    taught_tags as taught_tags,
    verdicts as verdicts,
    image_things as image_things,
    thing_labels as thing_labels,
    sight_verdicts as sight_verdicts,
    thing_verdicts as thing_verdicts,
    things as things,
)
from tagger.database.tables.photo_tables import (
    changed_days as changed_days,
    day_landmarks as day_landmarks,
    day_places as day_places,
    positions as positions,
    track_parts as track_parts,
    tracks as tracks,
    trip_edits as trip_edits,
    trips as trips,
    visits as visits,
)
from tagger.database.tables.job_tables import (
    audit_log as audit_log,
    backend_selections as backend_selections,
    chunks as chunks,
    job_items as job_items,
    job_models as job_models,
    jobs as jobs,
    ledgers as ledgers,
    metadata_writes as metadata_writes,
    schedule_runs as schedule_runs,
    schedules as schedules,
    workers as workers,
)
