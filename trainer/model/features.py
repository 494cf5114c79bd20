"""What an encoder sees in photos: a vector of features for each.

Those of a frozen backbone are kept in the run's folder, since all that is learned on top of them is learned in seconds.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tagger.images import Resize
from trainer.errors import PhotosGone, writing_to
from trainer.learning.views import views_of
from trainer.model.network import Encoder
from trainer.photos.decoding import decode_batches
from trainer.photos.pixels import KeptPhotos
from trainer.progress import photo_progress

BATCH_SIZE = 8
"""On a CPU larger batches are slower: their activations leave the caches, and memory is fetched anew for each."""

log = logging.getLogger("trainer")


def features_as_tagged(encoder: Encoder, paths: Sequence[Path], resize: Resize, device: str) -> Tensor:
    """float32 (N, F), of photos decoded as the tagger will decode them, in full precision.

    Raises:
        PhotosGone: they could be read when training began, and cannot any more.
    """
    features = []
    with _working_on(device, encoder), photo_progress("looking at photos", len(paths)) as advance:
        for batch in decode_batches(paths, resize, BATCH_SIZE):
            features.append(encoder(batch.images.to(device)).cpu())
            advance(len(batch.positions))
    gone = len(paths) - sum(len(part) for part in features)
    if gone:
        raise PhotosGone(count=gone)
    return torch.cat(features)


def features_as_kept(
    encoder: Encoder, kept: KeptPhotos, positions: Sequence[int], size: int, device: str
) -> Tensor:
    """float32 (N, F), of the kept photos at `positions`, plainly scaled to `size`."""
    features = []
    with _working_on(device, encoder), photo_progress("looking at photos", len(positions)) as advance:
        for first in range(0, len(positions), BATCH_SIZE):
            images = kept.scaled(positions[first : first + BATCH_SIZE], size)
            features.append(encoder(images.to(device)).cpu())
            advance(len(images))
    return torch.cat(features)


def features_of_views(
    encoder: Encoder,
    kept: KeptPhotos,
    size: int,
    views: tuple[str, ...],
    device: str,
    *,
    cache: Path,
    made_by: dict[str, object],
) -> Tensor:
    """float32 (N, V, F), of every kept photo in these views, from `cache` where they are known.

    Args:
        encoder: uint8 (B, 3, size, size) → features (B, F)
        kept: the photos
        size: side of the views, in pixels
        views: which of `trainer.learning.views.VIEWS`
        device: where to compute
        cache: the file that they are kept in
        made_by: what the encoder is, in words and digests
    """
    described = json.dumps([made_by, size, views, kept.digests], sort_keys=True)
    fingerprint = blake3(described.encode()).hexdigest()
    known = _load(cache, fingerprint)
    if known is not None:
        return known
    count = len(kept.photos)
    log.info("looking at %d photos in %d views", count, len(views))
    features = []
    with _working_on(device, encoder), photo_progress("looking at photos", count) as advance:
        for first in range(0, count, BATCH_SIZE):
            images = kept.scaled(range(first, min(first + BATCH_SIZE, count)), size)
            seen = [encoder(view).cpu() for view in views_of(images.to(device), views)]
            features.append(torch.stack(seen, dim=1))
            advance(len(images))
    result = torch.cat(features)
    with writing_to(cache):
        save_file({"features": result}, cache, metadata={"fingerprint": fingerprint})
    return result


@contextmanager
def _working_on(device: str, encoder: Encoder) -> Iterator[None]:
    """The encoder on a device, in evaluation mode, without gradients; back on the CPU afterwards."""
    encoder.eval().to(device)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    try:
        with torch.no_grad():
            yield
    finally:
        encoder.to("cpu")


def _load(path: Path, fingerprint: str) -> Tensor | None:
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("fingerprint") != fingerprint:
                return None
            features: Tensor = file.get_tensor("features")
            return features
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        log.warning("the features kept in %s cannot be read and are made anew (%s)", path, error)
        return None
