"""A database of many photos with five tags and an embedding each. Four of five have a position.

In 20 years, four families with three cameras each make 1,460 trips of five days, each to one of the landmarks
of the shipped model, and a few of these far more often. Every value is derived from the photo's number, so two
databases of the same size are equal.
"""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from struct import pack

from sqlalchemy import Connection, insert, make_url, select, text

from tagger.database.connection import Database, open_database
from tagger.database.schema import bulk_load
from tagger.database.statements import part_of
from tagger.database.tables import landmarks, models, roots
from tagger.kept.update import update_kept
from tagger.registry import resolve_models, use_models
from tagger.tags.models_in_use import LANDMARKS, shipped_name
from tagger.teaching.classifiers import embedding_bytes
from tagger.teaching.learning import embedding_of
from tagger.teaching.similarity import update_sketches
from tagger.transfer import upgrade_database

from .postgres_databases import autocommitted

ROOT = Path("/library/photos")
CHUNK = 256
BOUNDS = pack("<ff", -1, 1)  # The lowest and the highest value of an embedding
JOBS = 40  # The number of jobs; each has the same number of photos

_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS "
    "(SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :photos) ",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(1, CAST(:photos AS bigint))) ",
}
_SHUFFLED = "((n * 7919 + 104729) % 1000003)"  # A pseudo-random number below 1,000,003
# Of a million photos. So many moments, of each day the same, are in as many shuffled numbers.
_PHOTOS_A_DAY = 137
_DAY = f"({_SHUFFLED} / {_PHOTOS_A_DAY})"  # Days since 2000
CAMERAS = 12
_CAMERA = f"(1 + (n / 20) % {CAMERAS})"
_FAMILY = f"({_CAMERA} % 4)"
_FIVE_DAYS = f"({_DAY} / 5)"
_DRAWN = f"((({_FIVE_DAYS} * 4 + {_FAMILY}) * 7919) % 1000)"
# The index of a photo's landmark: of a trip, of which low ones are far more frequent, or near the family's home.
_SIGHT = f"""(CASE WHEN ({_FIVE_DAYS} + {_FAMILY}) % 4 = 0 THEN {_DRAWN} * {_DRAWN} * :landmarks / 1000000
    ELSE 7 * {_FAMILY} END)"""
_IS_TAGGED = f"({_SHUFFLED} % 10 < 6)"
_IN_FOLDER = """
    'y' || CAST(2000 + n % 25 AS text) || '/m' || CAST(10 + (n / 25) % 12 AS text)
    || '/IMG_' || CAST(10000000 + n AS text) || '.jpg'"""

_FILL = {
    "contents": f"""
        INSERT INTO contents (id, digest, width, height, model_id, top_k, threshold, outcome, classified_at)
        {{numbers}} SELECT n, '1-' || {{digest}}, 4000, 3000, 1 + n % 2, 5, 0.5,
            CASE WHEN {_IS_TAGGED} THEN 'tagged' ELSE 'unknown' END, {{classified_at}}
        FROM numbers""",
    # One photo in 20 is a copy of another, one in 200 is not classified yet, one in 100 is gone.
    "cameras": """
        INSERT INTO cameras (id, key, name)
        {numbers} SELECT n, 'camera|' || CAST(n AS text), 'Camera ' || CAST(n AS text) FROM numbers
        WHERE n <= :cameras""",
    "photos": f"""
        INSERT INTO photos (root_id, path, path_bytes, size_bytes, mtime_ns, camera_id, taken_at, gone_since,
            content_id, classified_size_bytes, classified_mtime_ns)
        {{numbers}} SELECT 1, {_IN_FOLDER}, {{no_bytes}}, 2000000 + n, n, {_CAMERA}, {{taken_at}},
            CASE WHEN n % 100 = 3 THEN {{classified_at}} END,
            CASE WHEN n % 200 = 7 THEN NULL WHEN n % 20 = 0 THEN n - 1 ELSE n END,
            CASE WHEN n % 200 <> 7 THEN 2000000 + n END, CASE WHEN n % 200 <> 7 THEN n END
        FROM numbers""",
    "tags": f"""
        INSERT INTO tags (content_id, rank, landmark_id, score, enough, model_id)
        {{numbers}} SELECT n, rank, 1 + ({_SIGHT} + (rank - 1) * 7) % :landmarks,
            CASE WHEN rank > 1 THEN 0.1 / rank
                 WHEN {_IS_TAGGED} THEN 0.5 + 0.5 * ({_SHUFFLED} % 997) / 997.0
                 ELSE 0.4 * ({_SHUFFLED} % 997) / 997.0 END,
            CASE WHEN rank = 1 AND {_IS_TAGGED} THEN {{true}} ELSE {{false}} END, 1 + n % 2
        FROM numbers, (SELECT 1 AS rank UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) AS ranks
        WHERE n > 0""",
    # Of tags alone: landmarks that the model misses would be taught.
    "verdicts": f"""
        INSERT INTO verdicts (content_id, landmark_id, verdict, given_by, given_at)
        {{numbers}} SELECT n, 1 + {_SIGHT} % :landmarks,
            CASE WHEN n % 2000 = 0 THEN 'rejected' ELSE 'confirmed' END,
            'ada', {{classified_at}}
        FROM numbers WHERE n % 1000 = 0 AND {_IS_TAGGED}""",
    # What the rule says of these rows: nothing else speaks against an accepted tag.
    "effective_tags": """
        INSERT INTO effective_tags (content_id, landmark_id, state, score, source, rank, model_id)
        SELECT t.content_id, t.landmark_id, COALESCE(v.verdict, 'accepted'), t.score,
            'model', t.rank, t.model_id
        FROM tags AS t LEFT JOIN verdicts AS v
            ON v.content_id = t.content_id AND v.landmark_id = t.landmark_id
        WHERE t.enough = {true} OR v.verdict IS NOT NULL""",
    "outcomes": """
        UPDATE contents SET outcome = CASE WHEN EXISTS (
            SELECT 1 FROM effective_tags AS e WHERE e.content_id = contents.id AND e.accepted = {true}
        ) THEN 'tagged' ELSE 'unknown' END WHERE id IN (SELECT content_id FROM verdicts)""",
    # Photos of a landmark are where it is, others around it.
    "positions": f"""
        INSERT INTO positions (
            photo_id, latitude, longitude, error_m, source, evidence, country, region, city)
        {{numbers}} SELECT photos.id, landmarks.latitude + distance,
            landmarks.longitude + 2 * distance, 300.0,
            source, '{{{{}}}}', landmarks.country, landmarks.region, landmarks.city
        FROM (SELECT n, 1 + {_SIGHT} % :landmarks AS landmark_id,
                CASE WHEN n % 10 < 3 THEN 'camera' WHEN n % 10 = 3 THEN 'track'
                    WHEN n % 10 < 6 AND {_IS_TAGGED} THEN 'landmark' ELSE 'neighbour' END AS source,
                CASE WHEN n % 10 >= 4 AND n % 10 < 6 AND {_IS_TAGGED} THEN 0.0
                    ELSE ({_SHUFFLED} % 401 - 200) / 1000.0 END AS distance
            FROM numbers) AS each
        JOIN photos ON photos.id = n AND photos.content_id IS NOT NULL
        JOIN landmarks ON landmarks.id = landmark_id AND landmarks.latitude IS NOT NULL
        WHERE n % 10 < 8""",
    "embeddings": """
        INSERT INTO embeddings (content_id, model_id, taught_version, data)
        {numbers} SELECT n, 1, 0, {embedding} FROM numbers""",
    "jobs": """
        INSERT INTO jobs (kind, options, model_id, top_k, threshold, reprocess, runner, priority,
            state, total, created_at,
            started_at, finished_at)
        {numbers} SELECT 'tag', '{{}}', 1, 5, 0.5, {false}, 'workers',
            'bulk', 'finished', :photos / :jobs, {classified_at},
            {classified_at}, {classified_at}
        FROM numbers WHERE n <= :jobs""",
    "job_items": f"""
        INSERT INTO job_items (job_id, position, photo_id, outcome, attempts)
        {{numbers}} SELECT 1 + (n - 1) / (:photos / :jobs), (n - 1) % (:photos / :jobs), n,
            CASE WHEN {_IS_TAGGED} THEN 'tagged' ELSE 'unknown' END, 1
        FROM numbers""",
    "chunks": """
        INSERT INTO chunks (job_id, chunk, first, last, attempts, done, tagged)
        {numbers} SELECT 1 + (n - 1) / (:photos / :jobs), ((n - 1) % (:photos / :jobs)) / :chunk,
            (n - 1) % (:photos / :jobs), least_of, 1, {true}, least_of - (n - 1) % (:photos / :jobs) + 1
        FROM (SELECT n, CASE WHEN (n - 1) % (:photos / :jobs) + :chunk < :photos / :jobs
                  THEN (n - 1) % (:photos / :jobs) + :chunk - 1
                  ELSE :photos / :jobs - 1 END AS least_of FROM numbers) AS each
        WHERE ((n - 1) % (:photos / :jobs)) % :chunk = 0""",
    # As triggers record them, which do not run.
    "changed_days": "INSERT INTO changed_days (step, part) SELECT DISTINCT 'days', {part} FROM photos",
}


def make_library(url: str, photos: int) -> Database:
    """Open the database at `url`; if it is empty, create `photos` photos in it."""
    upgrade_database(url)
    with closing(open_database(url)) as database, database.read() as connection:
        is_empty = not connection.scalar(text("SELECT count(*) FROM roots"))
    if is_empty:
        fill_library(url, photos)
        with closing(open_database(url)) as database:
            update_kept(database)
            update_sketches(database, resolve_models(database, None))
        if make_url(url).get_backend_name() == "postgresql":
            # It would gather statistics and vacuum later, during a benchmark.
            with autocommitted(url) as connection:
                connection.execute(text("VACUUM ANALYZE"))
                connection.execute(text("CHECKPOINT"))
    return open_database(url)


def fill_library(url: str, photos: int) -> None:
    with closing(open_database(url)) as database:
        (model,) = use_models(database, [str(shipped_name(LANDMARKS))])
        with database.write() as connection:
            connection.execute(insert(roots).values(name=ROOT.name, location=str(ROOT), location_bytes=b""))
            add_older_model(connection, model.id)
            with bulk_load(connection):
                _fill(connection, photos, embedding_bytes(embedding_of(model).dimension) - len(BOUNDS))


def add_older_model(connection: Connection, model_id: int) -> None:
    """Register a second model, `older`, with the manifest of this one."""
    columns = (column for column in models.c if column is not models.c.id)
    row = connection.execute(select(*columns).where(models.c.id == model_id)).one()._asdict()
    connection.execute(insert(models).values(row | {"digest": "0" * 64, "name": "older"}))


def _fill(connection: Connection, photos: int, noise_bytes: int) -> None:
    sqlite = connection.dialect.name == "sqlite"
    classified_at = datetime(2026, 3, 1, tzinfo=UTC)
    minutes = f"({_DAY} * 24 * 60 + 7 * 60 + {_SHUFFLED} % {_PHOTOS_A_DAY} * 6)"
    taken_at = (
        f"datetime('2000-01-01', {minutes} || ' minutes') || '.000000'"
        if sqlite
        else f"timestamp '2000-01-01' + {minutes} * interval '1 minute'"
    )
    fragments = {
        "numbers": _NUMBERS[connection.dialect.name],
        "true": "1" if sqlite else "true",
        "false": "0" if sqlite else "false",
        "digest": "printf('%064d', n)" if sqlite else "lpad(CAST(n AS text), 64, '0')",
        "part": part_of.sql("taken_at", "id", is_sqlite=sqlite),
        "no_bytes": "x''" if sqlite else r"'\x'::bytea",
        "classified_at": "'2026-03-01 00:00:00.000000'"
        if sqlite
        else f"timestamptz '{classified_at.isoformat()}'",
        # In no order; one photo in nine has none.
        "taken_at": f"CASE WHEN n % 9 > 0 THEN {taken_at} END",
        # An embedding is the noise at its place in a longer one.
        "embedding": "CAST(:bounds || substr(:noise, n + 1, :noise_bytes) AS blob)"
        if sqlite
        else "CAST(:bounds AS bytea) || substring(CAST(:noise AS bytea), CAST(n AS integer) + 1, :noise_bytes)",
    }
    landmark_count = connection.scalar(select(text("count(*)")).select_from(landmarks))
    parameters = {
        "photos": photos,
        "landmarks": landmark_count,
        "jobs": JOBS,
        "chunk": CHUNK,
        "cameras": CAMERAS,
        "bounds": BOUNDS,
        "noise": Random(0).randbytes(photos + noise_bytes),
        "noise_bytes": noise_bytes,
    }
    for statement in _FILL.values():
        query = text(statement.format(**fragments))
        used = {name: parameters[name] for name in parameters if name in query._bindparams}
        connection.execute(query, used)
