"""The statements of the views `photo_tags` and `photos_view`, for people's own SQL."""

from collections.abc import Mapping

_PATH = "CASE WHEN r.location LIKE '%/' THEN r.location || p.path ELSE r.location || '/' || p.path END"
_PRESENT = "p.gone_since IS NULL AND p.primary_id IS NULL"


def view_statements(*, is_sqlite: bool) -> Mapping[str, str]:
    """The query of each view, by its name."""
    true = "1" if is_sqlite else "true"
    return {"photo_tags": _PHOTO_TAGS.format(true=true), "photos_view": _PHOTOS_VIEW}


_PHOTO_TAGS = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root, l.slug AS landmark, l.name AS name, l.country AS country,
       l.city AS city, e.score AS score, e.accepted AS accepted, e.verdict AS verdict, e.source AS source,
       p.taken_at AS taken_at, o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source,
       o.error_m AS error_m, m.name AS model
FROM effective_tags AS e
JOIN landmarks AS l ON l.id = e.landmark_id
JOIN photos AS p ON p.content_id = e.content_id AND {_PRESENT}
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN positions AS o ON o.photo_id = p.id
LEFT JOIN models AS m ON m.id = e.model_id
WHERE e.accepted = {{true}}"""

_PHOTOS_VIEW = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root,
       CASE WHEN p.failure_kind IS NOT NULL THEN 'failed' ELSE COALESCE(c.outcome, 'untagged') END AS outcome,
       p.taken_at AS taken_at, CASE WHEN substr(k.key, 1, 7) = 'camera|' THEN k.name END AS camera,
       o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source, o.error_m AS error_m, o.country AS country, o.city AS city,
       c.width AS width, c.height AS height, c.digest AS digest, p.failure_kind AS failure_kind, p.failure_text AS failure_text
FROM photos AS p
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN contents AS c ON c.id = p.content_id
LEFT JOIN cameras AS k ON k.id = p.camera_id
LEFT JOIN positions AS o ON o.photo_id = p.id
WHERE {_PRESENT}"""
