"use strict";

// A solver is hidden or shown in all figures of the page at once.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const solver = button.dataset.solver;
    const shown = button.getAttribute("aria-pressed") !== "true";
    for (const other of document.querySelectorAll(".legend button")) {
      if (other.dataset.solver === solver) other.setAttribute("aria-pressed", shown);
    }
    for (const root of Bokeh.documents.flatMap(held => held.roots())) {
      for (const renderer of root.renderers) {
        if (renderer.name === solver) renderer.visible = shown;
      }
    }
  });
}

// The numbers of a figure as a file, from what the figure itself draws.
for (const button of document.querySelectorAll("button.data")) {
  button.addEventListener("click", () => {
    const chart = button.closest(".chart"), title = chart.querySelector("h3").textContent;
    const view = Bokeh.index.roots.find(one => chart.contains(one.el));
    const sources = new Map(view.model.renderers.map(one => [one.data_source, one.name]));
    const columns = ["at", "x", "value", "low", "high"], lines = [["solver", ...columns]];
    for (const [source, name] of sources) {
      const data = source.data;
      for (let i = 0; i < data.value.length; i++) {
        lines.push([name, ...columns.map(column => data[column] ? data[column][i] : "")]);
      }
    }
    const quoted = text => `"${String(text ?? "").replaceAll('"', '""')}"`;
    const text = lines.map(line => line.map(quoted).join(",") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
    link.download = `${title.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

function key(row, column) {
  const cell = row.cells[column];
  // Python's "inf" stands for what is not there; it goes to the end.
  return "key" in cell.dataset ? Number(cell.dataset.key.replace("inf", "Infinity"))
                               : cell.textContent;
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, column = head.cellIndex;
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = Array.from(body.rows).sort((one, two) => {
      const a = key(one, column), b = key(two, column);
      const order = typeof a === "string" ? a.localeCompare(b, "en", {numeric: true})
                                          : a === b ? 0 : a < b ? -1 : 1;
      return down ? -order : order;
    });
    body.append(...rows);
  });
}
