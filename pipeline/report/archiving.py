"""An archive for readers of a paper: a store, its report, and what it was computed with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import jinja2
import tomli_w
import xarray as xr

from pipeline.analysis import describing, remarks
from pipeline.campaign.files import runs_code
from pipeline.errors import InputError
from pipeline.report.writing import cube_page
from pipeline.results.publishing import latest, open_results
from pipeline.solving import provenance
from pipeline.solving.verification import verify
from pipeline.store import Store, files
from pipeline.store.archive import BLOCK_SUMS, STORE, sum_line, write_archive

KEPT = ("campaign.toml", "requests", "LATEST", "decisions", "timings")
"""Parts of a store that are archived, beside its newest cube and its blocks."""


def archive(
    store: str | Path | Store,
    output: str | Path,
    *,
    blocks: bool = True,
    citation: str | Path | None = None,
) -> Path:
    """Write an archive of a store: what a reviewer needs, in one file that checks itself.

    Parameters
    ----------
    store
        The store, or its path.
    output
        A file ending in ``.zip``.
    blocks
        Whether the blocks are in it, so that they can be solved again; otherwise their digests.
    citation
        A CITATION.cff of the results; by default that of kronsbl.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        There is no cube, something in the store is damaged, or `output` is no name for a file.

    Notes
    -----
    ``README.md`` in the archive says what is what. `pipeline.verify` takes the archive.
    """
    store, output = Store.of(store), files.checked_output(output, ".zip")
    results = open_results(store)
    verdict = verify(store, blocks=0)  # else the digests would vouch for damage
    if not verdict.ok:
        raise InputError(f"{store.path}: not archived: {[*verdict.damaged, *verdict.differing][0]}")
    package = Path(__file__).parents[1]
    ours = (package / "CITATION.cff", package.parent / "CITATION.cff")  # installed, or a checkout
    cited = Path(citation) if citation else next(path for path in ours if path.is_file())
    if not cited.is_file():
        raise InputError(f"{cited}: no such file")
    write_archive(output, _members(store, results, cited, blocks=blocks))
    return output


def _members(
    store: Store, results: xr.Dataset, citation: Path, *, blocks: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, what people read first."""
    asked, cube, names = store.asked(), latest(store), sorted(store.names())
    assert cube is not None  # since it has been opened
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report"), trim_blocks=True, lstrip_blocks=True
    )
    about = environment.get_template("archive.md.j2").render(
        title=describing.name_of(results),
        realizations=remarks.realizations(results),
        complete=bool(results.attrs["complete"]),
        cube=cube.name,
        blocks=len(names),
        with_blocks=blocks,
        own=sorted({use for use in asked.uses if runs_code(use)}),
        version=provenance.package_version("kronsbl"),
        commit=results.attrs.get("computed_with_commit", "unknown"),
    )
    yield "README.md", about.encode()
    yield "CITATION.cff", citation.read_bytes()
    yield "campaign.toml", tomli_w.dumps(asked.tables).encode()
    yield "report.html", cube_page(results).encode()
    yield from _environment(results)
    for part in (*KEPT, f"cubes/{cube.name}"):
        whole = store.path / part
        for path in [whole] if whole.is_file() else sorted(whole.rglob("*")):
            if path.is_file() and not files.is_temporary(path):
                yield f"{STORE}/{path.relative_to(store.path)}", files.read_bytes(path)
    for name in sorted(store.objects.list("failed/")):
        yield f"{STORE}/{name}", store.objects.get(name)
    sums = []
    for name in names:
        path = store.block_path(name)  # where it lies loose in the archive, also out of a pack
        member, data = f"{STORE}/{path.relative_to(store.path)}", store.file(name).data
        if blocks:
            yield member, data
        else:
            sums.append(sum_line(member, data))
    if not blocks:
        yield BLOCK_SUMS, "".join(sums).encode()


def _environment(results: xr.Dataset) -> Iterator[tuple[str, bytes]]:
    """Yield what it was computed with, and all that is installed where the archive is made."""
    computed = {
        name: value
        for name, value in results.attrs.items()
        if str(name).startswith("computed_with_") or name in ("hosts", "git", "requested")
    }
    facts = {"computed": computed, "archived": provenance.of_process()}
    yield "environment/provenance.json", json.dumps(facts, indent=2, default=str).encode()
    locked = {f"{one.name}=={one.version}\n" for one in distributions() if one.name != "kronsbl"}
    ours = f"# kronsbl {provenance.package_version('kronsbl')}, commit {provenance.code_commit()}\n"
    yield "environment/requirements.txt", "".join([ours, *sorted(locked, key=str.lower)]).encode()
