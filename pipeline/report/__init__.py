"""Reports: one self-contained page about a cube, or about several."""

from pipeline.report.page import (
    Chart,
    FactList,
    Paragraph,
    Section,
    SortableTable,
    SourceText,
    page,
)
from pipeline.report.sections import sections_of
from pipeline.report.writing import write

__all__ = [
    "Chart",
    "FactList",
    "Paragraph",
    "Section",
    "SortableTable",
    "SourceText",
    "page",
    "sections_of",
    "write",
]
