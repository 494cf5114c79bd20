"""The recipe for few landmarks, or few photos of them: they are learned as in teaching.

It needs no photos of other things. Ordinary photos and other landmarks, where there are any, all test it.
"""

from dataclasses import replace

import torch

from tagger.model.artifact import file_digest, read_background, read_manifest
from tagger.model.devices import choose_device
from trainer.backbones.loading import SHIPPED_MODEL, shipped_backbone
from trainer.data.preparation import FoundPhotos, TrainingData, prepare
from trainer.export.calibration import FittedModel, finish_run
from trainer.export.run import FinishedRun
from trainer.learning.classifier import Encoder, embedding_of
from trainer.learning.head import features_from_cache, features_from_files
from trainer.learning.taught import TaughtClassifier, fit_taught
from trainer.options import TransferOptions


def train_taught(found: FoundPhotos, options: TransferOptions) -> FinishedRun:
    """Learn the landmarks, measure the classifier, and write the run."""
    device, shipped = choose_device(options.device, None).kind, read_manifest(SHIPPED_MODEL)
    data = prepare(found, options.pixels, size=shipped.input.size, seed=options.seed)
    is_unknown = data.targets == len(data.labels)
    data = replace(data, is_validation=data.is_validation | is_unknown, is_of_val=data.is_of_val | is_unknown)
    backbone, network = shipped_backbone()
    encoder = Encoder(backbone, network)
    everything = range(len(data.cached.photos))
    embeddings = embedding_of(
        features_from_cache(encoder, data.cached, everything, shipped.input.size, device)[:, 0]
    )
    if shipped.embedding is None:
        raise AssertionError("the shipped model gives embeddings")
    background = read_background(SHIPPED_MODEL, file_digest(SHIPPED_MODEL), shipped.embedding)

    def learned_from(photos: TrainingData) -> TaughtClassifier:
        targets = torch.from_numpy(photos.targets[photos.training])
        head = fit_taught(background, embeddings[photos.training], targets, len(photos.labels))
        return TaughtClassifier(encoder, head.requires_grad_(requires_grad=False))

    features = features_from_files(encoder, data.validation_paths(), shipped.input.resize, device)[:, 0]
    fitted = FittedModel(
        backbone,
        shipped.input,
        learned_from(data).scores_of(features),
        lambda: learned_from(data.whole),
        None,
        None,
        background,
        shipped.ranges,
        "taught: what tells each landmark from strangers, on the frozen network of the shipped model",
        {"seed": options.seed},
    )
    return finish_run(data, fitted, options)
