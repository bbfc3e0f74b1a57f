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
