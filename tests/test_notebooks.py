"""The notebook: it says what its page says, runs without a screen, and shows what it promises."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_has_the_code_of_its_page_and_no_outputs(path):
    cells = nbformat.read(path, 4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    page = (DOCS / f"{path.stem}.md").read_text(encoding="utf-8")
    assert [cell.source for cell in code] == [
        text.rstrip("\n") for text in re.findall(r"```python\n(.*?)```", page, re.S)
    ]
    assert [cell.outputs for cell in code] == [[]] * len(code)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's libraries
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_figures_and_tables(path, tmp_path):
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": tmp_path}}).execute()
    bar = next(
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "<progress" in output.get("data", {}).get("text/html", "")
    )
    assert re.search('max="([0-9]+)" value="\\1"', bar["data"]["text/html"])
    shown = {
        ast.unparse(ast.parse(cell.source).body[-1]).partition("(")[0]: [
            kind for output in cell.outputs for kind in output.get("data", {})
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    assert "text/html" in shown["kronsbl.plan"]
    assert "text/html" in shown["kronsbl.run"]
    assert "image/png" in shown["cube.kronsbl.plot"]
    assert "image/png" in shown["plots.replayed"]
