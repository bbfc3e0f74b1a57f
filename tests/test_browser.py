"""The report in a real browser: it loads alone, its figures are drawn, clicks do what they say."""

import contextlib
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


@pytest.fixture(scope="module")
def grid_file(tmp_path_factory, client):
    """A report over two swept parameters."""
    folder = tmp_path_factory.mktemp("grid")
    sweep = {"snr_db": [10, 15, 20], "measurements.0": [3, 4]}
    campaign = campaign_with(sweep=sweep, solvers={"astray": {"use": "komp"}})
    pipeline.run(campaign, folder / "store", client)
    return report.write(folder / "store", folder / "report.html")


@pytest.fixture(scope="module")
def change_file(grid_file):
    """A report about two stores, here of the same."""
    store = grid_file.parent / "store"
    return report.write(store, grid_file.parent / "change.html", store)


@contextlib.contextmanager
def loaded(browser, file, width):
    """The loaded page; what it asked for and complained of stands in `troubles`."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, has_touch=width < 500)
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
    assert tab.troubles == []
    tab.close()


@pytest.fixture(params=WIDTHS)
def page(request, browser, file):
    with loaded(browser, file, WIDTHS[request.param]) as tab:
        yield tab


@pytest.fixture(params=WIDTHS)
def grid_page(request, browser, grid_file):
    with loaded(browser, grid_file, WIDTHS[request.param]) as tab:
        yield tab


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


@pytest.mark.parametrize("width", WIDTHS.values())
def test_a_report_of_two_stores_fits_as_well(browser, change_file, width):
    with loaded(browser, change_file, width) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.locator("#differences .chart").count() == 2
        lines = point_at(tab, 0, "svd", 1)
        assert lines[1:3] == ["svd", "0 [0, 0]"]


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


PLACE = """([chart, solver, i]) => {
    const plot = document.querySelectorAll(".plot")[chart];
    const view = Bokeh.index.roots.find(one => plot.contains(one.el));
    const drawn = view.model.renderers.find(one => !solver || one.name === solver);
    const {x_scale, y_scale} = view.frame, source = drawn.data_source.data;
    const [across, upwards] = {dots: ["value", "x"], map: ["x", "y"]}[view.model.tags[0]]
                              ?? ["x", "value"];
    const box = view.el.getBoundingClientRect();
    return [box.x + x_scale.compute(source[across][i]),
            box.y + y_scale.compute(source[upwards][i])];
}"""


def point_at(page, chart, solver, i):
    """Point at the i-th value of a solver in a figure, or tap it."""
    page.locator(".plot").nth(chart).scroll_into_view_if_needed()
    page.wait_for_timeout(100)
    at = page.evaluate(PLACE, [chart, solver, i])
    page.touchscreen.tap(*at) if page.viewport_size["width"] < 500 else page.mouse.move(*at)
    page.locator(".tip").wait_for(state="visible", timeout=3000)
    box = page.locator(".tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    return page.locator(".tip").inner_text().splitlines()


def test_one_tooltip_has_all_solvers_at_a_point(page):
    head, *lines = point_at(page, 0, "svd", 1)
    assert head == "SNR = 20 dB"
    assert lines[::2] == ["svd", "oracle", "am-with-a-rather-long-label"]
    said = page.evaluate("""Bokeh.documents[0].roots()[0].renderers
        .filter(one => one.name === "svd")[0].data_source.data.said""")
    assert lines[1] == said[1]
    page.locator(".chart").first.get_by_role("button", name="svd").click()
    assert point_at(page, 0, "oracle", 0)[1::2] == ["oracle", "am-with-a-rather-long-label"]
    page.locator("h1").click()
    page.mouse.move(2, 2)
    assert not page.locator(".tip").is_visible()


def test_every_figure_tells_its_values(page):
    marks = page.evaluate("""Array.from(document.querySelectorAll(".plot"), plot =>
        Bokeh.index.roots.find(one => plot.contains(one.el)).model.tags[0])""")
    assert {"points", "step", "path", "line"} <= {*marks}
    for kind in {*marks}:
        lines = point_at(page, marks.index(kind), "svd", 1)
        assert "svd" in lines, kind
        assert all(lines), kind


def test_a_map_tells_its_values(grid_page):
    titles = grid_page.locator(".chart h3").all_text_contents()
    number = next(i for i, title in enumerate(titles) if title.endswith(", oracle"))
    [text] = point_at(grid_page, number, "", 4)
    assert text.startswith("SNR = 15 dB, measurements of the first factor = 4: −")


RANGES = """() => Bokeh.documents.flatMap(held => held.roots()).filter(
    root => root.tags[0] === "points").map(root => [root.y_range.start, root.y_range.end])"""


def test_axes_fit_what_is_left_and_come_back(grid_page):
    before = grid_page.evaluate(RANGES)
    entry = grid_page.locator(".chart").first.get_by_role("button", name="astray")
    entry.click()
    fitted = grid_page.evaluate(RANGES)
    assert all(a <= c < d <= b for (a, b), (c, d) in zip(before, fitted, strict=True))
    assert fitted[0] == fitted[1], "panels of one figure stay alike"
    assert fitted[0][1] < before[0][1] - 3, "dB"
    low, high = grid_page.evaluate("""() => {
        const roots = Bokeh.documents[0].roots(), label = root => root.left[0].axis_label.text;
        const points = roots.filter(root => root.tags[0] === "points");
        const all = points.filter(root => label(root) === label(roots[0]))
            .flatMap(root => root.renderers.filter(one => one.visible))
            .flatMap(one => [...one.data_source.data.low, ...one.data_source.data.high]);
        return [Math.min(...all), Math.max(...all)];
    }""")
    assert fitted[0][0] <= low
    assert high <= fitted[0][1]
    entry.click()
    assert grid_page.evaluate(RANGES) == before


def test_a_slice_hides_the_others(grid_page):
    charts = grid_page.locator(".chart")
    titles = charts.locator("h3")
    name = "measurements of the first factor"
    every = charts.count()

    def choose(label, value):
        grid_page.locator(f'.slices select[data-name="{label}"]').select_option(value)

    choose(name, "4")
    seen = [titles.nth(i).inner_text() for i in range(every) if charts.nth(i).is_visible()]
    assert f"median NMSE, {name} = 4" in seen
    assert not [title for title in seen if f"{name} = 3" in title]
    assert 0 < len(seen) < every
    rows = grid_page.locator("#summary table").first.locator("tbody tr")
    assert rows.count() == 18
    assert sum(rows.nth(i).is_visible() for i in range(18)) == 9
    choose("SNR (dB)", "15")
    assert sum(rows.nth(i).is_visible() for i in range(18)) == 3
    for label in (name, "SNR (dB)"):
        choose(label, "all")
    assert all(charts.nth(i).is_visible() for i in range(every))
