"""A run → the artifact that the tagger loads: stored in half precision, checked against the training model.

`write_program` and `read_program` are the one place that knows in which form a model leaves the trainer.
"""

import copy
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from tagger.artifact import MANIFEST_NAME, Manifest, file_digest, load_module, save_artifact
from tagger.devices import Device, available_kinds, choose_device
from tagger.model import load_model
from trainer.backbones import STORED_IN_HALF
from trainer.errors import ExportDisagrees, ExportImpossible, NotARun, RunUnfinished, RunUnusable, writing_to
from trainer.model.network import Classifier
from trainer.model.runs import LOG, RECORD, Run, RunRecord, load_run
from trainer.photos.decoding import decode_batches
from trainer.progress import photo_progress

BATCH_SIZE = 8
FULL = "cpu_float32"

Program = Callable[[Tensor], Tensor]
"""uint8 (B, 3, H, W) → float32 (B, L), as the training model does it, in any batch size."""


@dataclass
class Agreement:
    """How far the exported model agrees with the training model, computed as named in `Exported.agreement`."""

    photos: int = 0
    same_top1: int = 0
    max_difference: float = 0.0  # of any score of any photo

    def __str__(self) -> str:
        return f"same top-1 on {self.same_top1} of {self.photos}, scores differ by at most {self.max_difference:.1e}"

    def add(self, ours: Tensor, theirs: Tensor) -> None:
        self.photos += len(ours)
        self.same_top1 += int((ours.argmax(dim=1) == theirs.argmax(dim=1)).sum())
        self.max_difference = max(self.max_difference, (ours - theirs).abs().max().item())


@dataclass(frozen=True)
class Exported:
    """A written artifact, and by device and precision how it agrees with the training model; None: not to be measured here."""

    path: Path
    digest: str
    size_bytes: int
    manifest: Manifest
    agreement: dict[str, Agreement | None]

    @property
    def compared(self) -> int:
        """On how many photos."""
        full = self.agreement[FULL]
        return full.photos if full else 0


def export_run(folder: Path, out: Path, *, name: str | None) -> Exported:
    """Export the run in `folder` to `out`; nothing is written unless both models agree on every validation photo's top-1.

    Raises:
        NotARun, RunUnfinished, RunUnusable, ExportImpossible, ExportDisagrees, OutputUnwritable: with the reason.
    """
    _require_run(folder)
    run = load_run(folder)
    manifest = _manifest(run.record, name or out.stem)
    unchecked = out.with_name(f".{out.name}.unchecked")
    try:
        with writing_to(out):
            write_program(_stored(run.classifier), manifest, unchecked)
        agreement = _compare(folder, run, unchecked, manifest)
        _require_agreement(agreement, run, out)
        with writing_to(out):
            unchecked.replace(out)
    finally:
        unchecked.unlink(missing_ok=True)
    return Exported(out, file_digest(out), out.stat().st_size, manifest, agreement)


def write_program(classifier: Classifier, manifest: Manifest, path: Path) -> None:
    """Turn the model into a program that needs none of this code, and write it with its manifest: today as TorchScript.

    What replaces it (torch.export, say) has to keep three things: a forward as `Program` states it, for any batch size; weights
    as they come, unfrozen, since precision, layout and freezing are chosen where the model runs; and the manifest in
    the file, readable without torch (`tagger.artifact` reads both, and changes with it).

    Raises:
        ExportImpossible: the network does something that such a program cannot.
    """
    try:
        with without_deprecations():
            module = torch.jit.script(classifier.eval())
    except RuntimeError as error:
        raise ExportImpossible(reason=str(error).strip().splitlines()[0]) from error
    save_artifact(module, manifest, path)


def read_program(path: Path) -> Program:
    """What `write_program` wrote, on the CPU in full precision and otherwise as stored."""
    with without_deprecations():
        module: Program = load_module(path, file_digest(path)).float().eval()
    return module


@contextmanager
def without_deprecations() -> Iterator[None]:
    """TorchScript is deprecated without a removal date; people who export need not hear of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        yield


def _require_run(folder: Path) -> None:
    """Refuse what is no finished run, without loading or running anything of it."""
    if folder.is_file():
        raise NotARun(path=folder, reason=_what_it_is(folder))
    if not folder.is_dir():
        raise NotARun(path=folder, reason="there is no such folder")
    if not (folder / RECORD).is_file():
        if (folder / LOG).is_file():
            raise RunUnfinished(path=folder)
        raise NotARun(path=folder, reason="no run is in this folder")


def _what_it_is(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return "it is a file"
    if any(name.endswith(f"/extra/{MANIFEST_NAME}") for name in names):
        return "it is a model that has been exported already"
    if any("/code/" in name for name in names):
        return "it is a TorchScript file that does not say what its labels are, nor what it was trained on"
    return "it is a file of weights, which do not say what their labels are"


def _stored(classifier: Classifier) -> Classifier:
    """As it lies on disk: in half precision what training rounded to it, so nothing is lost; all else in full."""
    stored = copy.deepcopy(classifier)
    for module in stored.modules():
        if isinstance(module, STORED_IN_HALF):
            module.half()
    return stored


def _compare(folder: Path, run: Run, exported: Path, manifest: Manifest) -> dict[str, Agreement | None]:
    """Both models on every validation photo, the exported one in every precision that the tagger may choose here."""
    programs = {FULL: read_program(exported), **_as_tagged(exported, manifest)}
    agreement = {name: Agreement() for name in programs}
    paths = [path for name in run.record.validation_photos if (path := Path(name)).is_file()]
    with photo_progress("comparing on validation photos", len(paths)) as advance, torch.inference_mode():
        for batch in decode_batches(paths, run.record.input.resize, BATCH_SIZE):
            ours = run.classifier(batch.images)
            for name, program in programs.items():
                agreement[name].add(ours, program(batch.images))
            advance(len(batch.positions))
    if agreement[FULL].photos == 0:
        reason = "none of its validation photos can be read any more, so the export cannot be checked"
        raise RunUnusable(path=folder, reason=reason)
    return {**agreement, **({} if "cuda" in available_kinds() else {"cuda_bfloat16": None})}


def _as_tagged(exported: Path, manifest: Manifest) -> dict[str, Program]:
    """The exported model as the tagger runs it: on a CPU in bfloat16 (also one that would choose otherwise), on CUDA if it is here."""
    devices = [Device("cpu", torch.bfloat16, BATCH_SIZE)]
    if "cuda" in available_kinds():
        devices.append(choose_device("cuda", BATCH_SIZE))
    return {
        f"{device.kind}_{str(device.dtype).removeprefix('torch.')}": _tagging(exported, manifest, device)
        for device in devices
    }


def _tagging(exported: Path, manifest: Manifest, device: Device) -> Program:
    model = load_model(exported, file_digest(exported), manifest, device)
    return lambda images: torch.from_numpy(model.scores(list(images.permute(0, 2, 3, 1).numpy())))


def _require_agreement(agreement: dict[str, Agreement | None], run: Run, out: Path) -> None:
    full = agreement[FULL]
    if full is not None and full.same_top1 < full.photos:
        versions = ", ".join(f"{name} {version}" for name, version in run.record.versions.items())
        different = full.photos - full.same_top1
        raise ExportDisagrees(count=different, total=full.photos, path=out, versions=versions)


def _manifest(record: RunRecord, name: str) -> Manifest:
    return Manifest(
        name=name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        labels=record.labels,
        input=record.input,
        threshold=record.threshold,
        threshold_reason=record.threshold_reason,
        calibration={"method": "fitted on validation photos"} | asdict(record.score_rule),
        training=record.training,
        metrics=record.metrics,
        versions=record.versions,
    )
