"""The `trainer` command: the command tree, `train`, `export`, `evaluate`, `compare`, and exit codes.

Each command imports its implementation when it runs: help never loads torch.
"""

import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import trainer
from tagger.cli import console
from tagger.cli.help import (
    HELP_ALL,
    prepare_arguments,
    refuse_former_command,
    use_help_classes,
    with_option_groups,
)
from tagger.errors import TaggerError
from tagger.extensions import extra_missing
from tagger.model.devices import describe_device, engine_version
from tagger.processes import set_message
from trainer import Show
from trainer.cli.data import (
    Json,
    ModelFile,
    ModelName,
    data_app,
    import_app,
    print_results,
)
from trainer.options import (
    FAMILY,
    Device,
    ImageSize,
    LibraryMixture,
    OrdinaryPhotos,
    RecipeOptions,
    TransferOptions,
)

if TYPE_CHECKING:
    from trainer.export.artifact import FinishedRun


train_app = typer.Typer(
    help="Train a classifier: `transfer` fine-tunes a pretrained network, "
    "`scratch` trains one from random weights.",
    no_args_is_help=True,
)


@train_app.command()
@with_option_groups
def transfer(*, options: TransferOptions, as_json: Json = False) -> None:
    """Fine-tune a pretrained network, or learn few landmarks on the shipped model's network.

    Few are fewer than 30 landmarks, or 30 photos of each: that takes a minute. Fine-tuning takes minutes on a
    GPU, about an hour on two CPU cores.

    Example: trainer train transfer --data landmarks --unknown ordinary --out runs/landmarks
    """
    from trainer.recipes import train_transfer

    _train(lambda: train_transfer(options), options.out, as_json=as_json)


@train_app.command()
@with_option_groups
def scratch(*, options: RecipeOptions, as_json: Json = False) -> None:
    """Train our own convolutional network from random weights.

    Needs a few thousand photos, and an hour or more on a CPU.

    Example: trainer train scratch --data landmarks --out runs/scratch
    """
    from trainer.recipes import train_scratch

    _train(lambda: train_scratch(options), options.out, as_json=as_json)


def _train(recipe: Callable[[], "FinishedRun"], run: Path, *, as_json: bool) -> None:
    # Run the recipe with its log messages in the run's log file, and print how good the model is.
    from trainer.export.artifact import LOG, METRICS, assess_run, create_run_folder

    create_run_folder(run)
    set_message(
        "interrupted; repeat the command with --resume to continue after the last finished epoch"
    )
    log = logging.getLogger("trainer")
    handler = logging.FileHandler(
        run / LOG, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        record = recipe().record
    finally:
        log.removeHandler(handler)
        handler.close()
    if as_json:
        typer.echo((run / METRICS).read_text(), nl=False)
        return
    for line in assess_run(record).lines(
        f"trainer export {shlex.quote(str(run))} --out MODEL.pt"
    ):
        typer.echo(line)


# The `trainer` command: the command tree, `export`, `evaluate`, `compare`, and exit codes.

# The packages of the extra `train`.
TRAIN_PACKAGES = {"matplotlib", "torch", "torchvision"}

log = logging.getLogger("trainer")

app = typer.Typer(
    name="trainer",
    help="Train the classifier that `tagger` runs, measure it, and export it to a file.",
    epilog="Put photos in F/train/LABEL/photo.jpg. F/val, F/test and F/landmarks.csv "
    "(names and locations of the landmarks) are optional. "
    "Start with: trainer train transfer --data F --out RUN, then: trainer export RUN --out MODEL.pt, "
    "then: trainer evaluate MODEL.pt --data F --out REPORT.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(import_app, name="import")


def run() -> None:
    """Run the command of the command line, and turn errors into messages and exit codes."""
    use_help_classes(app)
    try:
        arguments, shows_all = prepare_arguments(sys.argv[1:])
        refuse_former_command("trainer", arguments)
        app(args=arguments, obj=HELP_ALL if shows_all else None)
    except TaggerError as error:
        console.fail(error)
    except ModuleNotFoundError as error:
        if error.name not in TRAIN_PACKAGES:
            raise
        console.fail(extra_missing("Training", "train"))


def _print_version(requested: bool) -> None:
    if not requested:
        return
    typer.echo(
        f"trainer {version('landmark-tagger')}, torch {engine_version('torch')}, {describe_device()}"
    )
    raise typer.Exit


@app.callback()
def _common(
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Show only warnings and errors.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, help="Show more; -vv adds tracebacks."
        ),
    ] = 0,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version, torch and the device, and exit.",
        ),
    ] = False,
) -> None:
    console.verbosity = -1 if quiet else verbose
    loud = logging.DEBUG if verbose else logging.INFO
    log.setLevel(logging.WARNING if quiet else loud)
    log.handlers = [_Stderr()]
    log.propagate = False
    trainer.display = _progress_line


@contextmanager
def _progress_line(description: str) -> Iterator[Show]:
    with console.ProgressLine(description) as line:
        yield line.show


@app.command()
def export(
    *,
    run: Annotated[
        Path, typer.Argument(help="The run folder that `trainer train` wrote.")
    ],
    out: ModelFile,
    name: ModelName = None,
    as_json: Json = False,
) -> None:
    """Export a run to one model file for `tagger --model`.

    The file is written only if it predicts the same landmarks as the training model on all validation photos.
    """
    log.info("loading the run %s", run)
    from trainer.export.artifact import export_run

    result = export_run(run, out, name=name)
    document: dict[str, object] = {
        "path": str(result.path.absolute()),
        "name": result.manifest.name,
        "digest": result.digest,
        "size_bytes": result.size_bytes,
        "labels": len(result.manifest.labels),
        "photos_compared": result.agreement.photos,
    }
    document["agreement"] = (
        asdict(result.agreement) if as_json else str(result.agreement)
    )
    print_results(document, as_json=as_json)


@app.command()
def evaluate(
    *,
    model: Annotated[
        Path,
        typer.Argument(
            help="A model file that `trainer export` wrote. It is a program: name only files that you trust."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="The folder with test/LABEL/photo.jpg, or with LABEL/photo.jpg."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="The folder for report.md, its figures and metrics.json."),
    ],
    distractors: OrdinaryPhotos = None,
    others: Annotated[
        Path | None,
        typer.Option(
            help="A folder with LANDMARK/photo.jpg of other landmarks, from other places than in training."
        ),
    ] = None,
    mixture: LibraryMixture = FAMILY,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure a model on photos that it was not trained on, and write a report.

    The report has accuracy, calibration and rejection.
    """
    log.info("loading the model %s", model)
    from trainer.evaluation import assess_evaluation, evaluate as evaluate_model
    from trainer.report import REPORT, evaluation_document, write_report

    evaluation = evaluate_model(
        model, data, distractors, others, mixture=mixture, device=device
    )
    write_report(evaluation, out)
    if as_json:
        print_results(evaluation_document(evaluation), as_json=True)
        return
    for line in assess_evaluation(evaluation).lines(
        f"tagger model add {shlex.quote(str(model))}"
    ):
        typer.echo(line)
    typer.echo(f"report: {out / REPORT}")


@app.command()
def compare(
    *,
    data: Annotated[
        Path,
        typer.Option(
            help="The folder with train/LABEL/photo.jpg, as for `trainer train`."
        ),
    ],
    backbones: Annotated[
        str,
        typer.Option(
            help="Comma-separated networks of torchvision, or timm/NAME for timm's."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="The folder for comparison.json, and one run per backbone."),
    ],
    unknown: OrdinaryPhotos = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="The weights file of a backbone. Other weights are downloaded. Repeatable.",
        ),
    ] = None,
    size: ImageSize = 224,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare pretrained networks on your photos: accuracy, parameters, file size and photos/s.

    Recommends one of them. Exits with 3 if some could not be compared.
    """
    names = tuple(
        dict.fromkeys(name.strip() for name in backbones.split(",") if name.strip())
    )
    if not names:
        raise typer.BadParameter("name at least one", param_hint="--backbones")
    files = {}
    for entry in weights or ():
        name, equals, path = entry.partition("=")
        if not equals or name not in names:
            raise typer.BadParameter(
                f"{entry}: write NAME=FILE, with one of {', '.join(names)}",
                param_hint="--weights",
            )
        files[name] = Path(path)
    from trainer.recipes import (
        ComparisonOptions,
        compare_backbones,
        comparison_lines,
    )

    comparison = compare_backbones(
        ComparisonOptions(data, unknown, out, names, files, size, device)
    )
    if as_json:
        print_results(comparison, as_json=True)
    else:
        typer.echo("\n".join(comparison_lines(comparison)))
    if any(row["reason"] for row in comparison["backbones"]):
        raise typer.Exit(console.SOME_PHOTOS_FAILED)


class _Stderr(logging.Handler):
    # Print messages to the current `sys.stderr`, so that a progress bar can show them above itself.
    def emit(self, record: logging.LogRecord) -> None:
        (console.warning if record.levelno >= logging.WARNING else console.info)(
            record.getMessage()
        )
