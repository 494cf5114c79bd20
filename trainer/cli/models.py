"""Commands about finished models: `trainer export` and `trainer evaluate`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import DeviceName, Json, print_results

models_app = typer.Typer()


@models_app.command()
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
    from trainer.model.export import export_run

    exported = export_run(run, out, name=name)
    document = {
        "path": str(exported.path.absolute()),
        "name": exported.manifest.name,
        "digest": exported.digest,
        "size_bytes": exported.size_bytes,
        "labels": len(exported.manifest.labels),
        "photos_compared": exported.compared,
    }
    agreement = exported.agreement.items()
    if as_json:
        figures = {name: asdict(measured) if measured else None for name, measured in agreement}
        print_results(document | {"agreement": figures}, as_json=True)
        return
    lines = {f"agreement_{name}": str(measured or "not measured here") for name, measured in agreement}
    print_results(document | lines, as_json=False)


@models_app.command()
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
    altered: Annotated[
        bool,
        typer.Option(
            "--altered",
            help="Look at the photos again squashed, at half size, cropped and saved with low quality: how much is lost?",
        ),
    ] = False,
    device: Annotated[
        DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="Where to compute, in full precision.")
    ] = "cpu",
    as_json: Json = False,
) -> None:
    """Measure a model on photos it has not seen: top-1, top-3, per landmark, confusion, calibration, rejection; all with intervals."""
    from trainer.evaluation import evaluate as measure
    from trainer.report import REPORT, figures_of, write_report

    evaluation = measure(model, data, distractors, device=device, altered=altered)
    write_report(evaluation, out)
    if as_json:
        print_results(figures_of(evaluation), as_json=True)
        return
    seen = evaluation.recognition
    document = {
        "photos": evaluation.photos,
        "top1": seen.top1.value,
        "top3": seen.top3.value,
        "top5": seen.top5.value,
        "ece": seen.ece.value,
        "gap": evaluation.gap.value,
        "accepted_right": seen.accepted_right.value,
        "precision_at_threshold": seen.precision.value,
    }
    if evaluation.rejection:
        whole = evaluation.rejection.whole
        document |= {"auroc": whole.auroc.value, "false_tags": whole.false_tags.value}
    print_results(document | {"report": str(out / REPORT)}, as_json=False)
