"""The tables of the work: jobs → items and chunks, the writes to metadata, workers, and schedules."""

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from tagger.database import JobKind, JobState, Outcome, Priority, Runner, Target
from tagger.database.tables.column_types import (
    Id,
    UtcDateTime,
    add_partial_index,
    counter,
    listed,
    metadata,
    one_of,
)

ledgers = Table(
    "ledgers",
    metadata,
    Column(
        "id",
        Integer,
        CheckConstraint("id = 1", name="only_one"),
        primary_key=True,
        doc="always 1",
    ),
    Column("ledger_id", Text, nullable=False, doc="random id of this database"),
    Column("created_at", UtcDateTime, nullable=False),
    Column(
        "last_tick_at",
        Float,
        doc="when it was last checked which schedules are due; null: never",
    ),
    Column(
        "max_gap_s",
        Integer,
        nullable=False,
        server_default="7200",
        doc="longest gap in seconds within which positions are estimated",
    ),
    Column(
        "position_odds",
        Boolean,
        nullable=False,
        server_default="1",
        doc="whether positions count for tags",
    ),
    Column(
        "settled_to",
        Id,
        doc="during an upgrade of `effective_tags`: the last one done; null: all are",
    ),
    Column(
        "models_settled_to",
        Id,
        doc="like `settled_to`, after other models were put in use",
    ),
    Column(
        "last_removed_job",
        Id,
        doc="the highest number of a removed job; no other job gets it",
    ),
    Column(
        "trips_version",
        Integer,
        nullable=False,
        server_default="0",
        doc="how often `trips` was updated",
    ),
    info={"doc": "A single row: the database's identity, which messages carry."},
)
jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True, doc="job number in commands"),
    Column("kind", Text, nullable=False, doc=listed(JobKind)),
    Column(
        "options",
        JSON,
        nullable=False,
        doc="options of its kind, such as paths and filters; folders that its scan skipped",
    ),
    Column(
        "model_id",
        Id,
        ForeignKey("models.id"),
        nullable=False,
        doc="the model that it runs",
    ),
    Column(
        "top_k",
        Integer,
        nullable=False,
        doc="number of predictions to store for each photo",
    ),
    Column("threshold", Float, nullable=False, doc="lowest score of an accepted tag"),
    Column(
        "reprocess", Boolean, nullable=False, doc="whether it classifies photos again"
    ),
    Column(
        "runner", Text, one_of("runner", Runner), nullable=False, doc=listed(Runner)
    ),
    Column(
        "priority",
        Text,
        one_of("priority", Priority),
        nullable=False,
        doc=listed(Priority),
    ),
    Column(
        "state", Text, one_of("state", JobState), nullable=False, doc=listed(JobState)
    ),
    Column("note", Text, doc="why the job waits or ended early, in words"),
    Column(
        "note_message",
        JSON(none_as_null=True),
        doc="code and values of the note; null: any other text",
    ),
    Column(
        "parent_id",
        Id,
        ForeignKey("jobs.id"),
        doc="the job that it retries or whose tags it writes",
    ),
    counter("total", "number of items; grows while the job is scanning"),
    Column(
        "tagged_at_end",
        Integer,
        doc="how many of its photos had a tag when it finished",
    ),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, doc="when its first chunk was claimed"),
    Column("finished_at", UtcDateTime, doc="when it finished or was cancelled"),
    counter(
        "items_removed",
        "number of first items that were removed because of the job's age",
    ),
    counter(
        "other_files",
        "number of files that its scan left out by extension, without sidecars",
    ),
    Column(
        "author",
        Text,
        doc="who started it or its parent, like `audit_log.actor`, or `schedule` and its name",
    ),
    Column(
        "owner",
        Text,
        doc="process that scans or runs it, its number last; null: workers run it",
    ),
    Column("owner_lease_until", Float, doc="end of the owner's lease"),
    Index(None, "state"),
    Index(None, "parent_id"),
    info={"doc": "A job: one request over many photos."},
)
job_models = Table(
    "job_models",
    metadata,
    Column(
        "job_id",
        Id,
        ForeignKey("jobs.id", ondelete="CASCADE"),
        nullable=False,
        doc="the job",
    ),
    Column(
        "position",
        Integer,
        nullable=False,
        doc="2 for the second model, 3 for the next, …",
    ),
    Column("model_id", Id, ForeignKey("models.id"), nullable=False, doc="the model"),
    Column("threshold", Float, nullable=False, doc="lowest score of an accepted tag"),
    PrimaryKeyConstraint("job_id", "position"),
    info={
        "doc": "A further model that classifies the photos of a job, beside `jobs.model_id`."
    },
)
job_items = Table(
    "job_items",
    metadata,
    Column("job_id", Id, nullable=False, doc="the job"),
    Column("position", Integer, nullable=False, doc="0, 1, 2, … without gaps"),
    Column(
        "photo_id",
        Id,
        ForeignKey("photos.id", ondelete="SET NULL"),
        doc="the photo; null: removed",
    ),
    Column(
        "outcome",
        Text,
        one_of("outcome", Outcome),
        doc=f"{listed(Outcome)}; null: open",
    ),
    Column(
        "reason",
        Text,
        doc="why it was skipped, failed or refused; `edited`: an undo kept changes",
    ),
    Column(
        "error_text",
        Text,
        doc="the failure or refusal in words; of written metadata, what was written",
    ),
    counter("attempts", "how often a worker tried to process it"),
    PrimaryKeyConstraint("job_id", "position"),
    # PostgreSQL would look up the job of each row, a third of the time in which they are recorded. Whoever
    # adds them has locked it.
    ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE").ddl_if(
        dialect="sqlite"
    ),
    Index(None, "photo_id"),
    sqlite_with_rowid=False,
    info={"doc": "One photo of a job."},
)
chunks = Table(
    "chunks",
    metadata,
    Column(
        "job_id",
        Id,
        ForeignKey("jobs.id", ondelete="CASCADE"),
        nullable=False,
        doc="the job",
    ),
    Column("chunk", Integer, nullable=False, doc="number of the chunk in the job"),
    Column(
        "first", Integer, nullable=False, doc="positions of its first and last item"
    ),
    Column("last", Integer, nullable=False, doc="positions of its first and last item"),
    Column(
        "token",
        Text,
        doc="secret of the last claim; only its holder may store outcomes",
    ),
    Column("claimed_at", Float, doc="when it was claimed last"),
    Column(
        "lease_until", Float, doc="end of the claim unless renewed; null: not claimed"
    ),
    Column(
        "worker",
        Text,
        doc="the worker of the last claim; null: released, or never claimed",
    ),
    counter("attempts", "number of claims, without those given back"),
    Column(
        "done",
        Boolean,
        nullable=False,
        server_default="0",
        doc="whether all its items have an outcome",
    ),
    *(
        counter(outcome.value, "number of items with this outcome")
        for outcome in Outcome
    ),
    PrimaryKeyConstraint("job_id", "chunk"),
    info={
        "doc": "A range of a job's items, for one worker at a time. A job's counts are sums over them. The "
        "last one of a job that classifies has no items: it stores what follows from their photos."
    },
)


add_partial_index(
    "ix_chunks_open", chunks.c.job_id, chunks.c.chunk, where=chunks.c.done.is_(False)
)

metadata_writes = Table(
    "metadata_writes",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "photo_id",
        Id,
        ForeignKey("photos.id", ondelete="SET NULL"),
        doc="the photo; null: removed",
    ),
    Column(
        "job_id",
        Id,
        ForeignKey("jobs.id", ondelete="SET NULL"),
        doc="the job that wrote it; null: removed",
    ),
    Column(
        "image_digest",
        Text,
        nullable=False,
        doc="`contents.digest` of the photo when it was written",
    ),
    Column(
        "target",
        Text,
        one_of("target", Target),
        nullable=False,
        doc="`sidecar` (a file beside the photo) or `embed` (the photo itself)",
    ),
    Column(
        "file",
        Text,
        nullable=False,
        doc="name of the written file, in the photo's folder",
    ),
    Column(
        "written_digest",
        Text,
        nullable=False,
        doc="BLAKE3 digest of the whole file after the write",
    ),
    Column(
        "base_digest",
        Text,
        doc="BLAKE3 digest of the file without the tags; null: no file",
    ),
    Column(
        "undo",
        LargeBinary,
        doc="the replaced bytes and their offsets; null: there was no file",
    ),
    Column("landmarks", JSON, nullable=False, doc="slugs of the written landmarks"),
    Column("written_at", UtcDateTime, nullable=False),
    Column(
        "complete",
        Boolean,
        nullable=False,
        doc="false: started; the digest tells whether it was done",
    ),
    Index(None, "photo_id"),
    Index(None, "image_digest"),
    Index(None, "written_digest"),
    Index(None, "job_id"),
    info={
        "doc": "A file into which tags were written, with the data for an exact undo."
    },
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("device", Text, nullable=False, doc="device that runs the model"),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", Float, nullable=False, doc="last sign of life"),
    Column("waits_for", Text, doc="why it waits, in words; null: it does not"),
    Column(
        "waits_for_message",
        JSON(none_as_null=True),
        doc="code and values of `waits_for`",
    ),
    Column(
        "photos_per_second",
        Float,
        doc="photos stored per second, in the last half minute",
    ),
    info={
        "doc": "A worker that has not been shut down; of several processes, each has a row."
    },
)

backend_selections = Table(
    "backend_selections",
    metadata,
    Column(
        "key",
        Text,
        primary_key=True,
        doc="JSON of model, device, hardware, options and versions",
    ),
    Column("model_digest", Text, nullable=False, doc="digest of the model file"),
    Column("device", Text, nullable=False, doc="device that runs the model"),
    Column("hardware", Text, nullable=False, doc="name of the GPU or processor"),
    Column(
        "engines",
        JSON,
        nullable=False,
        doc='list of engines with versions, like `["torch 2.11.0"]`',
    ),
    Column(
        "backend",
        Text,
        nullable=False,
        doc="engine that runs the model, such as `torchscript`",
    ),
    Column(
        "batch_size", Integer, nullable=False, doc="number of images in a forward pass"
    ),
    Column("selected_at", UtcDateTime, nullable=False),
    Column(
        "selected_by", Text, nullable=False, doc="name of the machine that selected it"
    ),
    info={"doc": "The fastest backend of a model on one kind of machine."},
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("name", Text, nullable=False, unique=True, doc="name in commands"),
    Column("cron", Text, nullable=False, doc="when it runs, as a cron expression"),
    Column("time_zone", Text, nullable=False, doc="time zone of the cron expression"),
    Column(
        "selection",
        Text,
        nullable=False,
        doc="`untagged`, `outdated`, `failed`, `all` or `taught`",
    ),
    Column(
        "options",
        JSON,
        nullable=False,
        doc="filters of the photos, and folders to scan first",
    ),
    Column(
        "priority",
        Text,
        one_of("priority", Priority),
        nullable=False,
        doc=listed(Priority),
    ),
    Column("paused", Boolean, nullable=False, doc="whether it is paused"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_due", UtcDateTime, nullable=False, doc="when it runs next"),
    Column(
        "until",
        Text,
        doc="time, like `06:00`, at which a run pauses until the next one; null: never",
    ),
    Index(None, "next_due"),
    info={"doc": "A backfill that runs at set times."},
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column(
        "schedule_id",
        Id,
        ForeignKey("schedules.id", ondelete="CASCADE"),
        nullable=False,
        doc="the schedule",
    ),
    Column("due_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column(
        "job_id",
        Id,
        ForeignKey("jobs.id", ondelete="SET NULL"),
        doc="the job; null: not started",
    ),
    Column("note", Text, doc="why the run was not started or failed"),
    Column(
        "note_message",
        JSON(none_as_null=True),
        doc="code and values of the note; null: any other text",
    ),
    Column(
        "paused_at", UtcDateTime, doc="when `until` paused its job; null: it did not"
    ),
    PrimaryKeyConstraint("schedule_id", "due_at"),
    info={
        "doc": "A run of a schedule. The primary key lets only one process start a due run."
    },
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key, in the order of writing"),
    Column("at", UtcDateTime, nullable=False),
    Column(
        "actor", Text, nullable=False, doc="`cli`, `web` or `worker`, and who used it"
    ),
    Column("action", Text, nullable=False, doc="what was done, like `job-create`"),
    Column(
        "subject",
        Text,
        doc="the number of a job, or the name of a schedule, model or token",
    ),
    Column("details", JSON, nullable=False, doc="more about it, without secrets"),
    Index(None, "at"),
    Index(None, "action", "id"),
    info={"doc": "Who did what, for 400 days and at most a million entries."},
)
