"""Results as bars: CPU milliseconds per photo of each program, a panel for each set of photos, the limit as a line."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from bench.comparison.programs import OURS, OURS_ON_TORCHSCRIPT, PROGRAMS, WORKER, WORKERS
from bench.comparison.results import Results
from trainer.report.drawings import BLUE, GREY, figure_axes

_ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
TAGGERS = (OURS, OURS_ON_TORCHSCRIPT, WORKER, WORKERS)


def draw_chart(sets: Sequence[Results], path: Path) -> None:
    """Write the chart as a PNG."""
    programs = [each for each in PROGRAMS if sets[0].has(each.name)]
    height = 1.5 + 0.38 * len(programs)
    with figure_axes(path, width=3.2 + 4.1 * len(sets), height=height, columns=len(sets)) as panels:
        for number, (axes, results) in enumerate(zip(panels, sets, strict=True)):
            _draw_bars(axes, results, [each.name for each in programs])
            titles = [each.title.replace("`", "") for each in programs]
            axes.set_yticks(range(len(programs)), titles if number == 0 else [""] * len(programs))
            axes.tick_params(axis="y", length=0)


def _draw_bars(axes: Axes, results: Results, names: Sequence[str]) -> None:
    costs = [results.cpu_ms(name) for name in names]
    colours = [BLUE if name in TAGGERS else GREY for name in names]
    bars = axes.barh(range(len(names)), costs, color=colours, height=0.68)
    ours = results.cpu_ms(OURS) if results.has(OURS) else None
    axes.bar_label(bars, [_label(cost, ours) for cost in costs], fontsize=8, padding=3, bbox=_ON_WHITE)
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


def _label(cost: float, ours: float | None) -> str:
    return f"{cost:.1f}" if ours is None or cost == ours else f"{cost:.1f} ({cost / ours:.1f} x)"
