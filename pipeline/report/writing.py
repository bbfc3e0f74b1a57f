"""Writing the report of a store."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError
from pipeline.store.files import replace_text


def write(store: str | Path, output: str | Path) -> Path:
    """Write the report of a store's newest cube, finished or not.

    Parameters
    ----------
    store
    output
        HTML file.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        There is no cube, nothing in it, or the file cannot be written.
    """
    from pipeline.analysis import describing
    from pipeline.report.page import page
    from pipeline.report.sections import sections_of
    from pipeline.results.publishing import open_results

    output = Path(output)
    if output.suffix not in (".html", ".htm"):
        raise InputError(f"{output}: expected a file ending in .html")
    if not output.parent.is_dir():  # found out before the work, not after
        raise InputError(f"{output}: there is no folder {output.parent}")
    results = open_results(store)
    title = describing.name_of(results)
    text = page(title, sections_of(results), describing.realizations(results))
    replace_text(output, text)
    return output
