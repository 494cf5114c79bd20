"""The statements of the views: `effective_tags`, which the program reads, and `photo_tags` and `photos_view` for people's own SQL."""

from collections.abc import Mapping


def view_statements(*, is_sqlite: bool) -> Mapping[str, str]:
    """The query of each view, by its name."""
    true, false = ("1", "0") if is_sqlite else ("true", "false")
    return {
        "effective_tags": _effective_tags(true, false),
        "photo_tags": _photo_tags(true, false),
        "photos_view": _photos_view(true),
    }


# Conditions on a tag, by the name of its table in the statement.
_OTHER_CONFIRMED = (
    "EXISTS (SELECT 1 FROM verdicts AS ov WHERE ov.content_id = {tag}.content_id AND ov.landmark_id != {tag}.landmark_id "
    "AND ov.verdict = 'confirmed')"
)
_REJECTED = (
    "EXISTS (SELECT 1 FROM verdicts AS rv WHERE rv.content_id = {other}.content_id AND rv.landmark_id = {other}.landmark_id "
    "AND rv.verdict = 'rejected')"
)
_OTHER_TAUGHT = (
    "EXISTS (SELECT 1 FROM taught_tags AS og WHERE og.content_id = {tag}.content_id AND og.landmark_id != {tag}.landmark_id "
    "AND og.accepted = {true} AND (og.pack = ''{or_better}) AND NOT " + _REJECTED.format(other="og") + ")"
)
_OTHER_OF_MODEL = (
    "EXISTS (SELECT 1 FROM tags AS ot WHERE ot.content_id = {tag}.content_id AND ot.landmark_id != {tag}.landmark_id "
    "AND ot.accepted = {true} AND ot.score >= {tag}.score AND NOT " + _REJECTED.format(other="ot") + ")"
)


def _other_taught(tag: str, true: str) -> str:
    return _OTHER_TAUGHT.format(tag=tag, true=true, or_better="")


def _other_wins(tag: str, score: str, pack: str, true: str) -> str:
    """Whether what is taught here, or another pack with a higher score, says that the image of a tag of a model or pack shows another landmark."""
    or_better = f" OR (og.score > {score} AND og.pack != {pack})"
    return _OTHER_TAUGHT.format(tag=tag, true=true, or_better=or_better)


def _effective_tags(true: str, false: str) -> str:
    """A rejected tag is never accepted, a confirmed one always. Of the others, landmarks that are taught here prevail, then the score decides.

    Beside another confirmed landmark, or one that wins, what remains is doubtful. Two landmarks of one model or pack do not compete.
    """
    by_taught = f"COALESCE(g.accepted, {false})"
    taught_here = f"({by_taught} AND g.pack = '')"
    best = f"CASE WHEN {by_taught} AND (g.score > t.score OR NOT t.accepted) THEN g.score ELSE t.score END"
    pack = f"CASE WHEN {by_taught} THEN g.pack ELSE '' END"
    other_confirmed = _OTHER_CONFIRMED.format(tag="t")
    other_wins = f"({_other_wins('t', best, pack, true)} OR (NOT t.accepted AND {_OTHER_OF_MODEL.format(tag='g', true=true)}))"
    taught_other_confirmed = _OTHER_CONFIRMED.format(tag="g")
    taught_other_wins = (
        f"({_other_wins('g', 'g.score', 'g.pack', true)} OR {_OTHER_OF_MODEL.format(tag='g', true=true)})"
    )
    return f"""\
SELECT t.content_id, t.landmark_id, t.rank,
       CASE WHEN {by_taught} AND NOT t.accepted THEN g.score ELSE t.score END AS score,
       t.model_id,
       CASE WHEN {by_taught} AND NOT t.accepted THEN 'taught' ELSE 'model' END AS source,
       v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false}
            ELSE d.content_id IS NULL AND (t.accepted OR {by_taught}) AND NOT {other_confirmed}
                 AND ({taught_here} OR NOT {other_wins}) END AS accepted,
       CASE WHEN {by_taught} AND NOT t.accepted THEN NULLIF(g.pack, '') END AS pack,
       CASE WHEN v.verdict IS NOT NULL OR d.content_id IS NOT NULL THEN NULL
            WHEN NOT (t.accepted OR {by_taught})
            THEN COALESCE(t.doubtful, g.doubtful)
            WHEN {other_confirmed} THEN 'confirmed-other'
            WHEN {taught_here} THEN NULL
            WHEN {_other_taught("t", true)} THEN 'taught-other'
            WHEN {other_wins} THEN 'scored-other' END AS doubtful,
       CASE WHEN t.accepted THEN t.position_odds WHEN g.accepted THEN g.position_odds
            ELSE COALESCE(t.position_odds, g.position_odds) END AS position_odds,
       CASE WHEN t.accepted THEN t.distance_m WHEN g.accepted THEN g.distance_m
            ELSE COALESCE(t.distance_m, g.distance_m) END AS distance_m
FROM tags AS t
LEFT JOIN taught_tags AS g ON g.content_id = t.content_id AND g.landmark_id = t.landmark_id
LEFT JOIN verdicts AS v ON v.content_id = t.content_id AND v.landmark_id = t.landmark_id
LEFT JOIN dismissals AS d ON d.content_id = t.content_id
UNION ALL
SELECT g.content_id, g.landmark_id, NULL, g.score, g.model_id, 'taught', v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false}
            ELSE d.content_id IS NULL AND g.accepted AND NOT {taught_other_confirmed}
                 AND (g.pack = '' OR NOT {taught_other_wins}) END,
       NULLIF(g.pack, ''),
       CASE WHEN v.verdict IS NOT NULL OR d.content_id IS NOT NULL THEN NULL
            WHEN NOT g.accepted THEN g.doubtful
            WHEN {taught_other_confirmed} THEN 'confirmed-other'
            WHEN g.pack = '' THEN NULL
            WHEN {_other_taught("g", true)} THEN 'taught-other'
            WHEN {taught_other_wins} THEN 'scored-other' END,
       g.position_odds, g.distance_m
FROM taught_tags AS g
LEFT JOIN verdicts AS v ON v.content_id = g.content_id AND v.landmark_id = g.landmark_id
LEFT JOIN dismissals AS d ON d.content_id = g.content_id
WHERE NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = g.content_id AND t.landmark_id = g.landmark_id)
UNION ALL
SELECT v.content_id, v.landmark_id, NULL, NULL, NULL, 'verdict', v.verdict, {true}, NULL, NULL, NULL, NULL
FROM verdicts AS v
WHERE v.verdict = 'confirmed'
  AND NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = v.content_id AND t.landmark_id = v.landmark_id)
  AND NOT EXISTS (
    SELECT 1 FROM taught_tags AS g WHERE g.content_id = v.content_id AND g.landmark_id = v.landmark_id)"""


_PATH = "CASE WHEN r.location LIKE '%/' THEN r.location || p.path ELSE r.location || '/' || p.path END"
_PRESENT = "p.gone_since IS NULL AND p.primary_id IS NULL"
_PHOTO_TAG = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root, l.slug AS landmark, l.name AS name, l.country AS country,
       l.city AS city, {{score}} AS score, {{true}} AS accepted, v.verdict AS verdict, {{source}} AS source,
       p.taken_at AS taken_at, o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source,
       o.error_m AS error_m, m.name AS model
FROM {{tag}}
JOIN landmarks AS l ON l.id = e.landmark_id
JOIN photos AS p ON p.content_id = e.content_id AND {_PRESENT}
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN positions AS o ON o.photo_id = p.id
LEFT JOIN models AS m ON m.id = {{model}}
WHERE {{accepted}}"""
_JOIN = (
    "LEFT JOIN {table} AS {name} ON {name}.content_id = e.content_id AND {name}.landmark_id = e.landmark_id\n"
)
_TAG, _TAUGHT, _VERDICT = (
    _JOIN.format(table=table, name=name)
    for table, name in (("tags", "t"), ("taught_tags", "g"), ("verdicts", "v"))
)
_DISMISSAL = "LEFT JOIN dismissals AS d ON d.content_id = e.content_id"


def _photo_tags(true: str, false: str) -> str:
    """The accepted rows of `effective_tags`: those that a model accepts, that only teaching accepts, that only a person confirms.

    Each part starts with the condition of a partial index, or a small table: the refused predictions of a photo are never read.
    """
    is_tag, is_taught = f"COALESCE(t.accepted, {false})", f"COALESCE(g.accepted, {false})"
    best = f"CASE WHEN {is_taught} AND g.score > e.score THEN g.score ELSE e.score END"
    pack = f"CASE WHEN {is_taught} THEN g.pack ELSE '' END"
    loses = f"{_other_wins('e', best, pack, true)} AND NOT ({is_taught} AND g.pack = '')"
    taught_loses = f"e.pack != '' AND ({_other_wins('e', 'e.score', 'e.pack', true)} OR {_OTHER_OF_MODEL.format(tag='e', true=true)})"
    no_other_confirmed = f"NOT {_OTHER_CONFIRMED.format(tag='e')}"
    unless_rejected = (
        f"(v.verdict = 'confirmed' OR (v.verdict IS NULL AND d.content_id IS NULL AND {no_other_confirmed}"
    )
    parts = (
        _PHOTO_TAG.format(
            tag=f"tags AS e\n{_TAUGHT}{_VERDICT}{_DISMISSAL}",
            score="e.score",
            source="'model'",
            model="e.model_id",
            accepted=f"e.accepted = {true} AND {unless_rejected} AND NOT ({loses})))",
            true=true,
        ),
        _PHOTO_TAG.format(
            tag=f"taught_tags AS e\n{_TAG}{_VERDICT}{_DISMISSAL}",
            score="e.score",
            source="'taught'",
            model="COALESCE(t.model_id, e.model_id)",
            accepted=f"e.accepted = {true} AND NOT {is_tag} AND {unless_rejected} AND NOT ({taught_loses})))",
            true=true,
        ),
        _PHOTO_TAG.format(
            tag=f"verdicts AS e\n{_TAG}{_TAUGHT}{_VERDICT}",
            score="COALESCE(t.score, g.score)",
            source="CASE WHEN t.content_id IS NOT NULL THEN 'model' WHEN g.content_id IS NOT NULL THEN 'taught' ELSE 'verdict' END",
            model="COALESCE(t.model_id, g.model_id)",
            accepted=f"e.verdict = 'confirmed' AND NOT {is_tag} AND NOT {is_taught}",
            true=true,
        ),
    )
    return "\nUNION ALL\n".join(parts)


def _is_tagged(true: str) -> str:
    """Whether a photo has an accepted tag, by the indexes of its image."""
    is_rejected = "EXISTS (SELECT 1 FROM verdicts AS v WHERE v.content_id = e.content_id AND v.landmark_id = e.landmark_id AND v.verdict = 'rejected')"
    accepted = (
        f"EXISTS (SELECT 1 FROM {table} AS e WHERE e.content_id = p.content_id AND e.accepted = {true} AND NOT {is_rejected})"
        for table in ("tags", "taught_tags")
    )
    return (
        "EXISTS (SELECT 1 FROM verdicts AS v WHERE v.content_id = p.content_id AND v.verdict = 'confirmed')\n"
        "         OR (NOT EXISTS (SELECT 1 FROM dismissals AS d WHERE d.content_id = p.content_id)\n"
        f"             AND ({' OR '.join(accepted)}))"
    )


def _photos_view(true: str) -> str:
    return f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root,
       CASE WHEN p.failure_kind IS NOT NULL THEN 'failed' WHEN c.outcome IS NULL THEN 'untagged'
            WHEN {_is_tagged(true)}
            THEN 'tagged' ELSE 'unknown' END AS outcome,
       p.taken_at AS taken_at, CASE WHEN substr(k.key, 1, 7) = 'camera|' THEN k.name END AS camera,
       o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source, o.error_m AS error_m, o.country AS country, o.city AS city,
       c.width AS width, c.height AS height, c.digest AS digest, p.failure_kind AS failure_kind, p.failure_text AS failure_text
FROM photos AS p
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN contents AS c ON c.id = p.content_id
LEFT JOIN cameras AS k ON k.id = p.camera_id
LEFT JOIN positions AS o ON o.photo_id = p.id
WHERE {_PRESENT}"""
