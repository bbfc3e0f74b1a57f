"""The documentation as a site: it names what is public, and is built without a warning."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

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
def test_it_is_built_without_a_warning_and_without_a_network(tmp_path):
    pytest.importorskip("sphinx")
    shutil.rmtree(DOCS / "generated", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path],
        capture_output=True,
        text=True,
        env={"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        check=False,
    )
    shutil.rmtree(DOCS / "generated", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "generated" / "kronsbl.run.html").read_text()
    assert "Compute what a store lacks of a campaign" in api
    pages = {path.stem for path in tmp_path.glob("*.html")}
    assert {path.stem for path in DOCS.glob("*.md")} <= pages
