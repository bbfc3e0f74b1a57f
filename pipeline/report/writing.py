"""Writing the report of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.store.files import checked_output, replace_text

if TYPE_CHECKING:
    import xarray as xr


def write(store: str | Path, output: str | Path, after: str | Path | None = None) -> Path:
    """Write the report of a store's newest cube, finished or not.

    Parameters
    ----------
    store
    output
        HTML file.
    after
        Another store, of other code say: then the page says what has changed to it from `store`.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        There is no cube, nothing in it, or the file cannot be written.
    """
    output = checked_output(output, ".html", ".htm")
    from pipeline.results.publishing import open_results

    results = open_results(store)
    if after is None:
        text = cube_page(results)
    else:
        from pipeline.report.differences import sections_of_two
        from pipeline.report.page import page

        sections = sections_of_two(results, open_results(after), (str(store), str(after)))
        text = page(f"{store} and {after}", sections)
    replace_text(output, text)
    return output


def cube_page(results: xr.Dataset) -> str:
    """The report of a cube as HTML."""
    from pipeline.analysis import describing, remarks
    from pipeline.report.page import page
    from pipeline.report.sections import sections_of

    title = describing.name_of(results)
    return page(title, sections_of(results), remarks.realizations(results))
