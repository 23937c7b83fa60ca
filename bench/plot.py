"""
A picture of what a work measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

_COLOURS = ("#1f5fa8", "#d1662b", "#3a8f5b")
_GREY = "#777777"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    # The same numbers are the same file; and text is text, which any browser can set.
    "svg.hashsalt": "bench",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Curve:
    label: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = False
    """Whether what was measured is so little that each is shown."""


@dataclass(frozen=True)
class Level:
    """Something to compare with, the same for every x."""

    label: str
    y: float


@dataclass(frozen=True)
class Plot:
    name: str
    """Of the file, without what it ends with."""
    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    levels: Sequence[Level] = ()
    goals: Sequence[tuple[float, float]] = ()
    """Points that a curve should pass on the left."""
    log_x: bool = False
    """Then the curves have the same x, each of which is named."""


def draw(plot: Plot, folder: Path, measured_on: str, kind: str = "svg") -> Path:
    """The file it is in; `kind`: svg or png."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.3), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for curve, colour in zip(plot.curves, _COLOURS, strict=False):
            style = "o-" if curve.points else "-"
            axes.plot(curve.x, curve.y, style, color=colour, label=curve.label, linewidth=1.4, ms=4)
        for level in plot.levels:
            axes.axhline(level.y, color=_GREY, dashes=(4, 3), linewidth=1, label=level.label)
        if plot.goals:
            axes.plot(
                *zip(*plot.goals, strict=True), "D", color=_GREY, ms=4.5, label="goal", linestyle="none"
            )
        _scale(axes, plot)
        axes.set_title(plot.title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel(plot.x)
        axes.set_ylabel(plot.y)
        if len(plot.curves) + len(plot.levels) + len(plot.goals) > 1:
            axes.legend(frameon=False, fontsize=8)
        figure.supxlabel(measured_on, x=0.99, ha="right", fontsize=6.5, color=_GREY)
        path = folder / f"{plot.name}.{kind}"
        figure.savefig(path, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return path


def _scale(axes: Axes, plot: Plot) -> None:
    if plot.log_x:
        axes.set_xscale("log")
        axes.set_xticks(plot.curves[0].x)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(
        0, 1.08 * max(*(max(curve.y) for curve in plot.curves), *(level.y for level in plot.levels), 0)
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(number: float) -> str:
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(number) >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
