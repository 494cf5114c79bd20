"""A bar chart of the results: CPU milliseconds per photo of each program, one panel per set of photos."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from bench.compare.programs import PROGRAMS, TAG, TAG_TORCHSCRIPT, WORKER, WORKERS
from bench.compare.results import Results
from trainer.report.drawings import BLUE, GREY, figure_axes

TAGGER_PROGRAMS = (TAG, TAG_TORCHSCRIPT, WORKER, WORKERS)
_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def draw_chart(sets: Sequence[Results], path: Path) -> None:
    """Write the chart as a PNG. The tagger's bars are blue; the vertical line is the limit."""
    programs = [program for program in PROGRAMS if sets[0].has(program.name)]
    titles = [program.title.replace("`", "") for program in programs]
    height = 1.5 + 0.38 * len(programs)
    with figure_axes(path, width=3.2 + 4.1 * len(sets), height=height, columns=len(sets)) as panels:
        for number, (axes, results) in enumerate(zip(panels, sets, strict=True)):
            _draw_bars(axes, results, [program.name for program in programs])
            axes.set_yticks(range(len(programs)), titles if number == 0 else [""] * len(programs))
            axes.tick_params(axis="y", length=0)


def _draw_bars(axes: Axes, results: Results, names: Sequence[str]) -> None:
    costs = [results.cpu_ms(name) for name in names]
    colours = [BLUE if name in TAGGER_PROGRAMS else GREY for name in names]
    bars = axes.barh(range(len(names)), costs, color=colours, height=0.68)
    tag_cost = results.cpu_ms(TAG) if results.has(TAG) else None
    axes.bar_label(bars, [_label(cost, tag_cost) for cost in costs], fontsize=8, padding=3, bbox=_LABEL_BOX)
    axes.axvline(
        results.limit_ms, color="black", linewidth=1, zorder=2.5, label=f"limit {results.limit_ms:.1f} ms"
    )
    axes.set(xlabel="CPU milliseconds per photo", xlim=(0, 1.28 * max(costs)))
    axes.set_title(
        f"{results.photo_set.name}: {results.photos} photos, {results.photo_set.mean_mb:.2f} MB each"
    )
    axes.invert_yaxis()
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)


def _label(cost: float, tag_cost: float | None) -> str:
    return f"{cost:.1f}" if tag_cost is None or cost == tag_cost else f"{cost:.1f} ({cost / tag_cost:.1f} x)"
