"use strict";

const roots = () => Bokeh.documents.flatMap(held => held.roots());
const viewIn = chart => Bokeh.index.roots.find(one => chart.contains(one.el));

// A solver is hidden or shown in all figures of the page at once.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const solver = button.dataset.solver;
    const shown = button.getAttribute("aria-pressed") !== "true";
    for (const other of document.querySelectorAll(".legend button")) {
      if (other.dataset.solver === solver) other.setAttribute("aria-pressed", shown);
    }
    for (const renderer of roots().flatMap(root => root.renderers)) {
      if (renderer.name === solver) renderer.visible = shown;
    }
    rescale();
  });
}

// Axes of values fit what is shown, the same where they have the same label; once all is shown
// again they are what they were. Ranges that bokeh finds by itself follow by themselves.
const ranges = new Map();
function rescale() {
  const alike = new Map();
  for (const root of roots()) {
    const [marks] = root.tags, side = marks === "dots" || marks === "step" ? "x" : "y";
    const range = root[`${side}_range`];
    if (marks === "map" || range.type !== "Range1d") continue;
    if (!ranges.has(range)) ranges.set(range, [range.start, range.end]);
    const label = root[side === "x" ? "below" : "left"][0].axis_label;
    const key = `${side}:${label.text ?? label}`, log = root[`${side}_scale`].type === "LogScale";
    if (!alike.has(key)) alike.set(key, {log, ranges: [], low: Infinity, high: -Infinity});
    const group = alike.get(key);
    group.ranges.push(range);
    for (const renderer of root.renderers.filter(one => one.visible)) {
      const data = renderer.data_source.data;
      for (const column of marks === "step" ? ["x"] : ["value", "low", "high"]) {
        for (const value of data[column]) {
          if (!Number.isFinite(value) || (log && value <= 0)) continue;
          group.low = Math.min(group.low, value);
          group.high = Math.max(group.high, value);
        }
      }
    }
  }
  const whole = roots().every(root => root.renderers.every(one => one.visible));
  for (const {log, ranges: members, low, high} of alike.values()) {
    const [there, back] = log ? [Math.log, Math.exp] : [Number, Number];
    const margin = 0.05 * (there(high) - there(low));
    for (const range of members) {
      const [start, end] = ranges.get(range), some = !whole && margin > 0;
      range.setv(some ? {
        start: Math.max(start, back(there(low) - margin)), end: Math.min(end, back(there(high) + margin)),
      } : {start, end});
    }
  }
}

// One slice of the grid: figures of other values, and rows of tables, are hidden.
function slice() {
  const chosen = Array.from(document.querySelectorAll(".slices select"))
    .filter(one => one.value).map(one => [one.dataset.name, one.value]);
  for (const chart of document.querySelectorAll(".chart[data-at]")) {
    const at = JSON.parse(chart.dataset.at);
    chart.hidden = chosen.some(([name, value]) => name in at && at[name] !== value);
  }
  for (const table of document.querySelectorAll("table")) {
    const heads = Array.from(table.tHead.rows[0].cells, cell => cell.textContent);
    for (const row of table.tBodies[0].rows) {
      row.hidden = chosen.some(([name, value]) =>
        heads.includes(name) && row.cells[heads.indexOf(name)].textContent !== value);
    }
  }
}
document.querySelector(".slices")?.addEventListener("change", slice);

// What a figure shows where the pointer is: a heading, and a line for each solver.
const short = value => Number(value).toPrecision(4).replace(/\.?0+(e|$)/, "$1").replace("-", "−");
function valuesAt(view, px, py) {
  const {x_scale, y_scale} = view.frame, [marks] = view.model.tags;
  const renderers = view.model.renderers.filter(one => one.visible);
  const sources = new Map(renderers.map(one => [one.name, one.data_source.data]));
  const across = marks === "dots" ? "value" : "x", upwards = marks === "dots" ? "x" : marks === "map" ? "y" : "value";
  let best = Infinity, found = null;
  for (const [solver, data] of sources) {
    for (let i = 0; i < data.value.length; i++) {
      if (!Number.isFinite(data.value[i])) continue;
      const dx = x_scale.compute(data[across][i]) - px, dy = y_scale.compute(data[upwards][i]) - py;
      const distance = marks === "path" || marks === "map" ? Math.hypot(dx, dy) : Math.abs(dx);
      if (distance < best) [best, found] = [distance, {solver, data, i}];
    }
  }
  if (!found) return null;
  const {solver, data, i} = found;
  if (marks === "map") return [data.at[i], []];
  if (marks === "path") return [data.at[i], [[solver, data.said[i]]]];
  const x = marks === "step" ? x_scale.invert(px) : data.x[i], lines = [];
  for (const [name, other] of sources) {
    const all = Array.from(other.x);
    const j = marks === "dots" ? 0 : marks === "step" ? all.findLastIndex(one => one <= x) : all.indexOf(x);
    if (marks === "step" && all.length) lines.push([name, j < 0 ? "0" : other.value[j].toFixed(2)]);
    else if (j >= 0 && Number.isFinite(other.value[j])) lines.push([name, other.said?.[j] ?? short(other.value[j])]);
  }
  const label = view.model.below[0].axis_label;
  const head = marks === "step" || !data.at ? `${label.text ?? label}: ${short(x)}` : data.at[i];
  return [head, lines];
}

const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.hidden = true;
function point(event) {
  const chart = event.target.closest?.(".plot")?.closest(".chart"), view = chart && viewIn(chart);
  const box = view?.el.getBoundingClientRect();
  const at = view && [event.clientX - box.x, event.clientY - box.y];
  const found = view && view.frame.bbox.contains(...at) && valuesAt(view, ...at);
  tip.hidden = !found;
  if (!found) return;
  const [head, lines] = found, legend = Array.from(chart.querySelectorAll(".legend button"));
  tip.replaceChildren(Object.assign(document.createElement("strong"), {textContent: head}));
  for (const [solver, text] of lines) {
    const line = tip.appendChild(document.createElement("div"));
    const drawn = legend.find(one => one.dataset.solver === solver)?.querySelector("svg");
    if (drawn) line.append(drawn.cloneNode(true));
    for (const part of [solver, text]) {
      line.appendChild(document.createElement("span")).textContent = part;
    }
  }
  const beside = (place, size, room) => Math.max(4, place + 16 + size > room ? place - 16 - size : place + 16);
  const right = beside(event.clientX, tip.offsetWidth, document.documentElement.clientWidth);
  tip.style.left = `${Math.min(right, document.documentElement.clientWidth - tip.offsetWidth - 4)}px`;
  tip.style.top = `${beside(event.clientY, tip.offsetHeight, window.innerHeight)}px`;
}
document.addEventListener("pointermove", event => event.pointerType === "mouse" && point(event));
document.addEventListener("click", point);  // a tap
document.addEventListener("scroll", () => { tip.hidden = true; }, {passive: true});

// The numbers of a figure as a file, from what the figure itself draws.
for (const button of document.querySelectorAll("button.data")) {
  button.addEventListener("click", () => {
    const chart = button.closest(".chart"), title = chart.querySelector("h3").textContent;
    const view = viewIn(chart);
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
