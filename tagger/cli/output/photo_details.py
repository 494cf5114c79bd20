"""The text of `tagger show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tagger.cli.output.formats import printable, write_table

if TYPE_CHECKING:
    from tagger.library.query.details import Dismissal, LastJob, MetadataWrite, PhotoDetails, Verdict
    from tagger.library.query.position_evidence import NeighbourEvidence, PositionEvidence
    from tagger.library.query.tagged_photos import Position, Tag


def print_details(details: PhotoDetails) -> None:
    photo = details.photo
    size = f"{photo.width} x {photo.height} pixels" if photo.width else None
    classified = f"{details.classified_at:%Y-%m-%d %H:%M} UTC by {details.model}" if details.model else None
    facts: list[tuple[str, object]] = [
        ("photo", printable(photo.path)),
        *(("raw file", printable(path)) for path in details.raw_files),
        ("outcome", photo.outcome or "not classified"),
        ("size", size),
        ("taken", photo.taken_at),
        ("camera", details.camera and printable(details.camera)),
        ("position", photo.position and _position(photo.position)),
        ("follows", details.evidence and _evidence(details.evidence)),
        ("classified", classified),
        ("threshold", details.threshold),
        ("last job", details.job and _job(details.job)),
        ("fails", details.failure and printable(f"{details.failure.kind}: {details.failure.text}")),
        ("gone since", details.gone_since and f"{details.gone_since:%Y-%m-%d %H:%M} UTC"),
        *(("written", _metadata(write)) for write in details.metadata),
        *(("copy", printable(copy)) for copy in details.copies),
        *(("verdict", _verdict(verdict)) for verdict in details.verdicts),
        ("verdict", details.dismissal and _dismissal(details.dismissal)),
    ]
    for name, value in facts:
        if value is not None:
            typer.echo(f"{name + ':':<12}{value}")
    rows = ([tag.rank, tag.name, _score(tag.score), _state(tag)] for tag in photo.tags)
    write_table(("Rank", "Landmark", "Score", ""), rows)


def _position(position: Position) -> str:
    return position.text + (f", {position.place}" if position.place else "")


def _evidence(evidence: PositionEvidence) -> str:
    """Where the position comes from: `from the landmark Colosseum`, `between A (GPS, 12 min before) and B (Colosseum, 8 min after)`."""
    before = evidence.before and _neighbour(evidence.before, "before")
    after = evidence.after and _neighbour(evidence.after, "after")
    if before and after:
        return f"between {before} and {after}"
    if before or after:
        return f"near {before or after}"
    if evidence.landmark:
        return f"from the landmark {evidence.landmark}"
    return f"from the track {printable(evidence.track)}" if evidence.track else "from the camera's GPS"


def _neighbour(neighbour: NeighbourEvidence, side: str) -> str:
    return f"{printable(neighbour.file)} ({neighbour.reason} {side})"


def _metadata(write: MetadataWrite) -> str:
    target = "to the photo" if write.target == "embed" else f"to {printable(write.file)}"
    job = f" by job {write.job}" if write.job else ""
    return f"{', '.join(write.landmarks) or 'position'} {target}, {write.written_at:%Y-%m-%d}{job}"


def _verdict(verdict: Verdict) -> str:
    by = f" by {printable(verdict.given_by)}" if verdict.given_by else ""
    return f"{verdict.name} {verdict.verdict}{by}, {verdict.given_at:%Y-%m-%d}"


def _dismissal(dismissal: Dismissal) -> str:
    by = f" by {printable(dismissal.given_by)}" if dismissal.given_by else ""
    return f"not a landmark{by}, {dismissal.given_at:%Y-%m-%d}"


def _job(job: LastJob) -> str:
    return f"{job.job}, {job.outcome}" + (f": {job.reason}" if job.reason else "")


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.1%}"


def _state(tag: Tag) -> str:
    if tag.reason:
        return tag.reason
    if tag.verdict or not tag.accepted:
        return tag.verdict or ("suggested" if tag.source == "taught" else "")
    return "taught" if tag.source == "taught" else "accepted"
