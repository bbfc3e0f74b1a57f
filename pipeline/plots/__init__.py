"""Figures in one style: a colour and a marker per solver, bands for uncertainty."""

from pipeline.plots.drawing import KINDS, draw, kinds_of
from pipeline.plots.replay import replayed
from pipeline.plots.style import save

__all__ = ["KINDS", "draw", "kinds_of", "replayed", "save"]
