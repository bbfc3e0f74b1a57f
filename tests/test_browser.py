"""The report in a real browser: it loads alone, its figures are drawn, clicks do what they say."""

import subprocess
from pathlib import Path

import pandas
import pytest

import pipeline
from pipeline import report
from tests.small_studies import campaign_with

pytestmark = pytest.mark.browser
INSTALL = Path(__file__).parent / "browser" / "install"
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def browser():
    """Chromium of the system; installed where we are root."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = subprocess.run([INSTALL], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        pytest.skip("no Chromium, and none could be installed")
    with playwright.sync_playwright() as driver:
        # Root may not use the sandbox; the page is our own.
        running = driver.chromium.launch(
            executable_path=found.stdout.strip(), args=["--no-sandbox"]
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory, client):
    """A report with all sections that a run by itself can have."""
    folder = tmp_path_factory.mktemp("browser")
    campaign = campaign_with(
        output={"trace": True}, solvers={"am-with-a-rather-long-label": {"use": "am_krosbl"}}
    )
    pipeline.run(campaign, folder / "store", client)
    return report.write(folder / "store", folder / "report.html")


@pytest.fixture(params=WIDTHS)
def page(request, browser, file):
    """The loaded page; what it asked for and complained of stands in `troubles`."""
    tab = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
    tab.troubles = []
    tab.on("pageerror", lambda error: tab.troubles.append(f"error: {error}"))
    tab.on(
        "console",
        lambda said: (
            tab.troubles.append(f"{said.type}: {said.text}")
            if said.type in ("error", "warning")
            else None
        ),
    )

    def only_the_file(route):
        if route.request.url == file.as_uri():
            route.continue_()
        else:
            tab.troubles.append(f"request: {route.request.url}")
            route.abort()

    tab.route("**/*", only_the_file)
    tab.goto(file.as_uri())
    tab.wait_for_function("Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle")
    yield tab
    tab.close()


VISIBLE = """
solver => Bokeh.documents.flatMap(d => d.roots()).map(
  root => root.renderers.filter(r => r.name === solver && r.visible).length)
"""


def test_it_loads_alone_and_draws_every_figure(page):
    plots = page.locator(".plot")
    assert plots.count() == page.evaluate("Bokeh.documents.flatMap(d => d.roots()).length") > 8
    for number in range(plots.count()):
        size = plots.nth(number).locator("canvas").first.bounding_box()
        assert size["width"] > 200
        assert size["height"] > 150
    assert page.troubles == []


def test_nothing_sticks_out_sideways(page):
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]


def test_tables_fit_a_desktop(page):
    if page.viewport_size["width"] < 500:
        pytest.skip("tables scroll in their boxes on a phone")
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    sizes = "all => all.map(one => [one.scrollWidth, one.clientWidth])"
    for inside, room in page.locator(".table").evaluate_all(sizes):
        assert inside <= room


def test_a_figure_gives_its_numbers(page, tmp_path):
    chart = page.locator(".chart").first
    with page.expect_download() as found:
        chart.get_by_role("button", name="CSV").click()
    assert found.value.suggested_filename == "median-NMSE.csv"
    found.value.save_as(tmp_path / "numbers.csv")
    numbers = pandas.read_csv(tmp_path / "numbers.csv")
    drawn = page.evaluate("""() => Bokeh.documents[0].roots()[0].renderers
        .filter(r => r.name === "svd")[0].data_source.data.value""")
    shown = numbers[numbers.solver == "svd"]
    assert shown["value"].tolist() == pytest.approx(list(drawn))
    assert shown["at"].tolist() == ["SNR = 10 dB", "SNR = 20 dB"]


def test_without_javascript_there_are_pictures(browser, file):
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 1280, "height": 900}
    )
    tab = context.new_page()
    tab.goto(file.as_uri())
    stills = tab.locator("img.still")
    assert stills.count() == tab.locator(".chart").count() > 8
    assert not tab.locator(".plot").first.is_visible()
    for number in range(stills.count()):
        size = stills.nth(number).bounding_box()
        assert size["width"] > 200
        assert size["height"] > 100
    context.close()


def test_it_prints_on_few_pages(browser, file):
    tab = browser.new_page()
    tab.goto(file.as_uri())
    printed = tab.pdf(format="A4")
    assert 2 <= printed.count(b"/Type /Page\n") <= 8
    tab.close()


def test_a_click_on_the_legend_hides_the_solver_everywhere(page):
    before = page.evaluate(VISIBLE, "svd")
    others = page.evaluate(VISIBLE, "oracle")
    assert all(before)
    figure = page.locator(".chart").first
    picture = figure.locator(".plot").screenshot()
    entry = figure.get_by_role("button", name="svd")
    entry.click()
    assert not any(page.evaluate(VISIBLE, "svd"))
    assert page.evaluate(VISIBLE, "oracle") == others
    assert entry.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(300)
    assert figure.locator(".plot").screenshot() != picture
    page.locator(".chart").last.get_by_role("button", name="svd").click()
    assert page.evaluate(VISIBLE, "svd") == before
    assert entry.get_attribute("aria-pressed") == "true"


def test_a_click_on_a_heading_sorts(page):
    table = page.locator("#summary table").first
    head = table.get_by_role("columnheader", name="mean nmse")
    read = """(table, column) => Array.from(
        table.tBodies[0].rows, row => row.cells[column].dataset.key)"""
    column = head.evaluate("head => head.cellIndex")
    table.evaluate(
        "(table, column) => { table.tBodies[0].rows[1].cells[column].dataset.key = 'inf'; }", column
    )
    for direction in ("ascending", "descending"):
        head.get_by_role("button").click()
        values = [float(key) for key in table.evaluate(read, column)]
        assert values == sorted(values, reverse=direction == "descending")
        assert head.get_attribute("aria-sort") == direction
    table.get_by_role("columnheader", name="solver").get_by_role("button").click()
    names = table.locator("tbody td:first-child").all_text_contents()
    assert names == sorted(names)
    assert head.get_attribute("aria-sort") == "none"


def test_hovering_reads_a_value(page):
    if page.viewport_size["width"] < 500:
        pytest.skip("no pointer on a phone")
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    at = page.evaluate("""() => {
        const view = Bokeh.index.roots.find(v => v.el.closest(".plot") ===
                                            document.querySelector(".plot"));
        const data = view.model.renderers.find(r => r.name === "svd").data_source.data;
        const box = view.el.getBoundingClientRect();
        const {x_scale, y_scale} = view.frame;
        return [box.x + x_scale.compute(data.x[0]), box.y + y_scale.compute(data.value[0])];
    }""")
    page.mouse.move(*at)
    page.mouse.move(at[0] + 1, at[1])
    page.get_by_text("SNR = 10 dB").first.wait_for(timeout=3000)
