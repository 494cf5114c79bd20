"""What the models in use say of a photo that is not stored, decided by the rule (see tags.rule)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tagger.database.connection import Database
from tagger.landmarks.landmarks import Landmark
from tagger.model.predictions import LabelPrediction
from tagger.registry.registered_models import RegisteredModel
from tagger.registry.registration import landmarks_of_labels
from tagger.tags.rule import Candidate, best_predictions, decide


@dataclass(frozen=True)
class ModelPredictions:
    """The best predictions of a model, and the threshold of its tags."""

    model: RegisteredModel
    threshold: float
    predictions: Sequence[LabelPrediction]

    @property
    def none_of_them(self) -> float:
        """The chance of none of the landmarks; at most that, if some predictions are missing."""
        return max(0.0, 1.0 - sum(each.score for each in self.predictions))


@dataclass(frozen=True)
class NamedPrediction:
    """A landmark, with the model and label of its best score. `accepted`: the photo would get the tag."""

    landmark: Landmark
    label: str
    score: float
    rank: int
    accepted: bool
    of: ModelPredictions


def named_predictions(
    database: Database, found: Sequence[ModelPredictions], top_k: int
) -> list[NamedPrediction]:
    """The best landmarks that models, in order of their use, give a photo."""
    best = [(order, of, each) for order, of in enumerate(found) for each in of.predictions[:top_k]]
    labels = [of.model.manifest.labels[each.position] for _, of, each in best]
    with database.read() as connection:
        landmarks = landmarks_of_labels(connection, labels)
    numbers = {landmark.slug: number for number, landmark in enumerate(landmarks)}
    candidates = {}
    for (order, of, each), label, landmark in zip(best, labels, landmarks, strict=True):
        number = numbers[landmark.slug]
        key = Candidate(
            *(number, each.score, each.accepted, of.threshold, order, each.rank), model_order=order
        )
        candidates[key] = landmark, label, of
    accepted = {tag.landmark_id for tag in decide(candidates, {}) if tag.is_accepted}
    in_order = sorted(
        best_predictions(candidates).values(), key=lambda each: (-each.score, each.rank or 0)
    )
    return [
        NamedPrediction(landmark, label.label, each.score, rank, each.landmark_id in accepted, of)
        for rank, each in enumerate(in_order[:top_k], 1)
        for landmark, label, of in [candidates[each]]
    ]


@dataclass(frozen=True)
class PredictedTag:
    """A landmark and its score."""

    landmark: str
    name: str
    label: str
    score: float
    rank: int
    accepted: bool
    country: str | None
    latitude: float | None
    longitude: float | None
    model: str


@dataclass(frozen=True)
class PredictionDocument:
    """The top-k of a photo that is not stored. `damaged`: a part is missing, so none is accepted."""

    path: str
    outcome: Literal["tagged", "unknown"]
    damaged: bool
    tags: list[PredictedTag]


@dataclass(frozen=True)
class FailedPredictionDocument:
    """Why a photo that is not stored was not classified."""

    path: str
    outcome: Literal["failed"]
    kind: str
    text: str


def prediction_document(
    path: str, predictions: Sequence[NamedPrediction], *, is_damaged: bool
) -> PredictionDocument:
    """The predictions for a photo that is not stored."""
    tags = [
        PredictedTag(
            each.landmark.slug,
            each.landmark.display_name,
            each.label,
            each.score,
            each.rank,
            each.accepted,
            each.landmark.country,
            each.landmark.latitude,
            each.landmark.longitude,
            each.of.model.name,
        )
        for each in predictions
    ]
    is_tagged = any(each.accepted for each in predictions)
    return PredictionDocument(path, "tagged" if is_tagged else "unknown", is_damaged, tags)
