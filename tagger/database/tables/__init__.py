"""The SQL tables. Users query them directly, so they hold plain values under plain names.

The reference of the tables, docs/reference/tables.md, is generated from `doc` of each column and of each table's `info`.

Photos and their tags: roots → photos → contents → tags, verdicts and dismissals, landmarks, models.
Teaching: contents → embeddings and taught_tags; verdicts and packs → classifiers.
Positions: photos, cameras, tracks → positions.
Counts: changed_blocks → landmark_block_counts → landmark_totals, month_block_counts → month_totals.
Work: jobs → job_items and chunks.
Access to the page: access_tokens, users → page_sessions; sign_in_attempts; shares → share_photos. Who did what: audit_log.

These modules define tables only; the rules for writing them are in the packages above.
"""

# ruff: noqa: I001 - the reference has the tables in this order
from tagger.database.tables.column_types import UtcDateTime, metadata, views
from tagger.database.tables.photo_tables import (
    NO_FAILURE,
    FAILING,
    PRESENT,
    UNTAGGED,
    cameras,
    contents,
    photos,
    roots,
)
from tagger.database.tables.tag_tables import (
    classifiers,
    dismissals,
    effective_tags,
    photo_tags,
    photos_view,
    embeddings,
    is_candidate,
    landmarks,
    model_labels,
    models,
    packs,
    tags,
    taught_tags,
    verdicts,
)
from tagger.database.tables.derived_tables import (
    changed_blocks,
    landmark_block_counts,
    landmark_totals,
    month_block_counts,
    month_totals,
    position_changes,
    positions,
    track_parts,
    tracks,
)
from tagger.database.tables.job_tables import (
    backend_selections,
    chunks,
    job_items,
    jobs,
    ledgers,
    metadata_writes,
    schedule_runs,
    schedules,
    workers,
)
from tagger.database.tables.job_tables import webhook_messages
from tagger.database.tables.access_tables import (
    access_names,
    access_tokens,
    audit_log,
    page_sessions,
    share_photos,
    shares,
    sign_in_attempts,
    users,
)

__all__ = [
    "FAILING",
    "NO_FAILURE",
    "PRESENT",
    "UNTAGGED",
    "UtcDateTime",
    "access_names",
    "access_tokens",
    "audit_log",
    "backend_selections",
    "cameras",
    "changed_blocks",
    "chunks",
    "classifiers",
    "contents",
    "dismissals",
    "effective_tags",
    "embeddings",
    "is_candidate",
    "job_items",
    "jobs",
    "landmark_block_counts",
    "landmark_totals",
    "landmarks",
    "ledgers",
    "metadata",
    "metadata_writes",
    "model_labels",
    "models",
    "month_block_counts",
    "month_totals",
    "packs",
    "page_sessions",
    "photo_tags",
    "photos",
    "photos_view",
    "position_changes",
    "positions",
    "roots",
    "schedule_runs",
    "schedules",
    "share_photos",
    "shares",
    "sign_in_attempts",
    "tags",
    "taught_tags",
    "track_parts",
    "tracks",
    "users",
    "verdicts",
    "views",
    "webhook_messages",
    "workers",
]
