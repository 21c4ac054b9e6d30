"""``make bench``: measure, print a table, write JSON, draw it.

python -m tests.bench [--only floor,many] [--soak SECONDS] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from rich.console import Console
from rich.table import Table

from tests.bench.kit import the_kit
from tests.bench.measures import ALL, RUNS, Measure, soak

MEASURES = ALL | {"kit": the_kit}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(MEASURES), help="which measures")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of the memory measure")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where results are written")
    given = parser.parse_args()
    console = Console()
    measures: list[Measure] = []
    for measure in _measures(given.only.split(","), given.soak):
        console.print(_row(measure), highlight=False)
        measures.append(measure)
    console.print(_table(measures))
    given.out.mkdir(exist_ok=True)
    (given.out / "bench.json").write_text(json.dumps(_data(measures), indent=2) + "\n")
    _draw(measures, given.out / "bench.png")
    console.print(f"written: {given.out}/bench.json and {given.out}/bench.png")


def _measures(names: list[str], seconds: float) -> Iterator[Measure]:
    for name in names:
        if name:
            yield from MEASURES[name]()
    if seconds:
        yield from soak(seconds)


def _spread(measure: Measure) -> str:
    low, high = min(measure.ratios), max(measure.ratios)
    return f"{measure.value:.2f} ({low:.2f} to {high:.2f})"


def _goal(measure: Measure) -> str:
    return f"{'≥' if measure.at_least else '≤'} {measure.target:g}"


def _notes(measure: Measure) -> str:
    return ", ".join(f"{name} {value:,.2f}" for name, value in measure.notes.items())


def _row(measure: Measure) -> str:
    return f"{measure.name}: {_spread(measure)} {measure.unit}, {_goal(measure)}"


def _table(measures: list[Measure]) -> Table:
    table = Table(title=f"median (minimum to maximum) of {RUNS} runs", title_justify="left")
    for column in ("measure", "", "value", "goal", "reached", "beside it"):
        table.add_column(column)
    for each in measures:
        reached = "yes" if each.reached else "[red]no[/]"
        table.add_row(each.name, each.unit, _spread(each), _goal(each), reached, _notes(each))
    return table


def _data(measures: list[Measure]) -> dict[str, object]:
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "expat": expat.EXPAT_VERSION,
        "machine": platform.machine(),
        "measures": [
            {
                "name": each.name,
                "unit": each.unit,
                "goal": each.target,
                "value": each.value,
                "reached": each.reached,
                "ratios": each.ratios,
                "figures": each.figures,
                "baselines": each.baselines,
                "notes": each.notes,
            }
            for each in measures
        ],
    }


def _draw(measures: list[Measure], file: Path) -> None:
    """Each measure as a part of its goal: the bar is what was reached, the line the goal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.5 * len(measures)), layout="constrained")
    for place, each in enumerate(reversed(measures)):
        parts = [
            each.target / ratio if each.at_least else ratio / each.target for ratio in each.ratios
        ]
        middle = sorted(parts)[len(parts) // 2]
        colour = "#3a7d44" if each.reached else "#b3423a"
        axes.barh(place, middle, color=colour, height=0.6)
        axes.plot([min(parts), max(parts)], [place, place], color="black", linewidth=1)
        where = max(middle, 1.0) + 0.04
        axes.text(where, place + 0.12, f"{each.value:.2f} {each.unit}", fontsize=8)
    axes.axvline(1.0, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(measures)), [each.name for each in reversed(measures)], fontsize=8)
    axes.set_xlim(0, 2.2)
    axes.set_xlabel("part of what is allowed; the dashed line is the goal")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
