"""Reports: one self-contained page about a cube, or about several."""

from pipeline.report.page import Chart, Facts, Section, Source, Table, Text, page
from pipeline.report.sections import sections_of
from pipeline.report.writing import write

__all__ = [
    "Chart",
    "Facts",
    "Section",
    "Source",
    "Table",
    "Text",
    "page",
    "sections_of",
    "write",
]
