"""Figures of a cube: kinds that describe what is shown, and a renderer with matplotlib."""

from pipeline.plots.appearance import Appearance
from pipeline.plots.base import Axis, Curve, FigureData, FigureKind, Map, Panel
from pipeline.plots.drawing import draw
from pipeline.plots.kinds import kinds_of, names, options_of
from pipeline.plots.replay import replayed
from pipeline.plots.style import save
from pipeline.plots.sweeps import over_sweep

__all__ = [
    "Appearance",
    "Axis",
    "Curve",
    "FigureData",
    "FigureKind",
    "Map",
    "Panel",
    "draw",
    "kinds_of",
    "names",
    "options_of",
    "over_sweep",
    "replayed",
    "save",
]
