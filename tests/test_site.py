"""The documentation as a site: it names what is public, and is built without a warning."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import pipeline
import solvers
from pipeline import analysis, plots, report

DOCS = Path(__file__).parent.parent / "docs"


def test_every_public_name_has_a_page():
    sections = (DOCS / "api.rst").read_text().split(".. autosummary::")[1:]
    listed = [sorted(re.findall(r"^   (\w+)$", section, re.M)) for section in sections]
    public = (pipeline, solvers, analysis, plots, report)
    assert listed == [sorted(module.__all__) for module in public]


@pytest.mark.slow
@pytest.mark.timeout(900)  # the notebook is executed
def test_it_is_built_without_a_warning_and_without_a_network(tmp_path):
    pytest.importorskip("sphinx")
    nowhere = "http://127.0.0.1:9"
    shutil.rmtree(DOCS / "generated", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "http_proxy": nowhere, "https_proxy": nowhere},
        check=False,
    )
    shutil.rmtree(DOCS / "generated", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "generated" / "kronsbl.run.html").read_text()
    assert "Compute what a store lacks of a campaign" in api
    pages = {path.stem for path in tmp_path.glob("*.html")}
    assert {path.stem for path in DOCS.glob("*.md")} <= pages
    assert "<progress" in (tmp_path / "notebooks" / "in-python.html").read_text(), "executed"
    broken = [(path.name, link) for path in tmp_path.rglob("*.html") for link in dead_links(path)]
    assert broken == []


def dead_links(page):
    """Links of a built page to pages, places and pictures that are not there."""
    for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
        path, _, place = unquote(html.unescape(link)).partition("#")
        if (
            ":" in path
            or place.startswith("../")
            or not re.search(r"(^|\.html|\.png|\.svg|\.css|\.js)$", path.partition("?")[0])
        ):
            continue  # elsewhere, or a file of the repository, which tests/test_docs.py looks after
        target = (page.parent / path.partition("?")[0]) if path else page
        if not target.is_file() or (
            place and not re.search(rf'id="{re.escape(place)}"', target.read_text(encoding="utf-8"))
        ):
            yield link


def test_the_gallery_has_every_figure():
    text = (DOCS / "gallery.md").read_text()
    missing = {f.name for f in (DOCS / "figures").glob("*.png")} - {
        *re.findall(r"figures/([\w-]+\.png)", text)
    }
    assert missing == set()
