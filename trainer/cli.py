"""The command tree of `trainer`, and how every command ends. Importing this imports no torch."""

import json
import logging
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from tagger.devices import quiet_threads
from tagger.errors import TaggerError

FAILED, INTERRUPTED = 1, 130

app = typer.Typer(
    name="trainer",
    help="Makes the classifier that `tagger` runs: trains it on folders of photos, measures it, exports it to one file.",
    epilog="Photos lie in F/train/LABEL/photo.jpg; F/val and F/test are optional, and so is F/landmarks.csv, which gives "
    "labels their names and places. Start with: trainer train transfer --data F --out RUN, then: trainer export RUN "
    "--out MODEL.pt, then: trainer evaluate MODEL.pt --data F --out REPORT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train_app = typer.Typer(
    help="Train a classifier. `transfer` starts from a network that has learned from a million photos already.",
    no_args_is_help=True,
)
app.add_typer(train_app, name="train")

Json = Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")]
DeviceName = Literal["auto", "cuda", "mps", "cpu"]
BackboneName = Literal["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "resnet18", "resnet50"]


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    from tagger.devices import describe_device

    typer.echo(f"trainer {version('landmark-tagger')}, torch {version('torch')}, {describe_device()}")
    raise typer.Exit


def _size(value: int) -> int:
    if value % 32:
        raise typer.BadParameter(f"{value} is not a multiple of 32")
    return value


@app.callback()
def _common(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and warnings on stderr.")] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="More; -vv shows tracebacks.")
    ] = 0,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Version, torch and device."),
    ] = False,
) -> None:
    log = logging.getLogger("trainer")
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    log.handlers = [_Stderr()]
    log.propagate = False


@train_app.command()
def transfer(
    *,
    data: Annotated[
        Path,
        typer.Option(
            help="The folder with train/LABEL/photo.jpg, and val/ if you have chosen one. Without, a fifth of train/ is held out, near-duplicates together."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The run's folder: checkpoint, curves, metrics, log. Run again with the same folder to reuse the features."
        ),
    ],
    unknown: Annotated[
        Path | None,
        typer.Option(
            help="A folder of ordinary photos, at any depth, to learn what is none of the landmarks. Greatly improves rejection."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The backbone's weights (safetensors, by torchvision's names; those of mobilenet_v2 as TensorFlow trained them). Without, torchvision's are fetched."
        ),
    ] = None,
    backbone: Annotated[BackboneName, typer.Option(help="The pretrained network.")] = "mobilenet_v2",
    epochs: Annotated[int, typer.Option(min=1, help="Times through the photos.")] = 12,
    size: Annotated[
        int,
        typer.Option(
            min=32,
            max=1024,
            callback=_size,
            help="Side of the images that the model sees, in pixels; a multiple of 32.",
        ),
    ] = 224,
    device: Annotated[DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="Where to compute.")] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed and photos make the same split and the same model.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Learn a linear layer on the features of a pretrained network: minutes on a laptop, good from 20 photos a label on."""
    from trainer.recipes.transfer import Options, train_transfer
    from trainer.runs import LOG, METRICS, open_run_folder

    open_run_folder(out)
    options = Options(
        data=data,
        unknown=unknown,
        out=out,
        weights=weights,
        backbone=backbone,
        epochs=epochs,
        size=size,
        device=device,
        seed=seed,
    )
    with _logged_to(out / LOG):
        record = train_transfer(options).record
    if as_json:
        typer.echo((out / METRICS).read_text(), nl=False)
        return
    for name, value in record.metrics.items():
        typer.echo(f"{name}\t{value:.4g}")
    typer.echo(f"threshold\t{record.threshold:.4g}")


@app.command()
def export(
    *,
    run: Annotated[Path, typer.Argument(help="The folder that `trainer train` wrote.")],
    out: Annotated[Path, typer.Option(help="The model file to write, MODEL.pt.")],
    name: Annotated[
        str | None,
        typer.Option(help="The model's name in `tagger model list`; the file's name, if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's model as one file for `tagger --model`, if it agrees with the training model on every validation photo."""
    from trainer.export import export_run

    exported = export_run(run, out, name=name)
    document = {
        "path": str(exported.path.absolute()),
        "name": exported.manifest.name,
        "digest": exported.digest,
        "size_bytes": exported.size_bytes,
        "labels": len(exported.manifest.labels),
        "photos_compared": exported.compared,
    }
    _print_results(document, as_json=as_json)


@app.command()
def evaluate(
    *,
    model: Annotated[Path, typer.Argument(help="A model file that `trainer export` wrote.")],
    data: Annotated[
        Path, typer.Option(help="The folder with test/LABEL/photo.jpg, or with the label folders themselves.")
    ],
    out: Annotated[
        Path, typer.Option(help="The folder to write report.md, its drawings and metrics.json to.")
    ],
    distractors: Annotated[
        Path | None,
        typer.Option(
            help="A folder of ordinary photos, at any depth, that show none of the landmarks: how many get a false tag?"
        ),
    ] = None,
    device: Annotated[
        DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="Where to compute, in full precision.")
    ] = "cpu",
    as_json: Json = False,
) -> None:
    """Measure a model on photos it has not seen: top-1, top-3, per landmark, confusion, calibration, rejection."""
    from trainer.evaluation import evaluate as measure
    from trainer.report import REPORT, figures_of, write_report

    evaluation = measure(model, data, distractors, device=device)
    write_report(evaluation, out)
    if as_json:
        _print_results(figures_of(evaluation), as_json=True)
        return
    document = {
        "photos": evaluation.photos,
        "top1": evaluation.top1,
        "top3": evaluation.top3,
        "top5": evaluation.top5,
        "ece": evaluation.ece,
        "accepted_right": evaluation.accepted_right,
        "precision_at_threshold": evaluation.precision,
    }
    if evaluation.rejection:
        document |= {"auroc": evaluation.rejection.auroc, "false_tags": evaluation.rejection.false_tags}
    _print_results(document | {"report": str(out / REPORT)}, as_json=False)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    quiet_threads()
    try:
        app(args=_loudness_first(sys.argv[1:]))
    except TaggerError as error:
        if "-vv" in sys.argv:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("interrupted; run the same command again to go on", file=sys.stderr)  # noqa: T201
        raise


def _terminate(_signum: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _loudness_first(arguments: list[str]) -> list[str]:
    """-q and -v may stand anywhere; the parser wants them ahead of the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    loud = [word for word in arguments[:end] if word in {"-q", "--quiet", "-v", "-vv", "--verbose"}]
    return loud + [word for word in arguments[:end] if word not in loud] + arguments[end:]


def _print_results(document: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    for name, value in document.items():
        typer.echo(f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}")


class _Stderr(logging.Handler):
    """Messages for people; asks for stderr each time, so that a progress bar can put them above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        print(prefix + record.getMessage(), file=sys.stderr)  # noqa: T201


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Keep what is said meanwhile in a file too."""
    log = logging.getLogger("trainer")
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
