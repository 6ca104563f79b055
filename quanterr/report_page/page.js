const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const table = document.querySelector("table.heat");
const bodies = [...table.tBodies];
// Q: the first of the two that a column compares is better, P: the second.
const word = (at, letter) => ({ Q: data.names[at][0], P: data.names[at][1], "?": "undecided" })[letter];
// Numbers come in thousandths of a dB; infinities are text, what is undefined is null.
const dB = (value) =>
  value === null ? "undefined" : typeof value === "string" ? value : (value / 1000).toFixed(3).replace("-", "−");
const real = (value) => (typeof value === "number" ? value / 1000 : value === "∞" ? Infinity : value === "−∞" ? -Infinity : NaN);
const pick = (column, i) => (Array.isArray(column) ? column[i] : column);
const verdictText = (at, cell, i) => {
  const here = pick(cell.here, i);
  return word(at, cell.verdict[i]) + (here ? ` (${word(at, here)} at this scale; open for other scales)` : "");
};
// Above zero for quantisation, below for pruning; an undecided chunk proves neither and counts as zero.
const signed = (cell, i) => ({ Q: 1, P: -1, "?": 0 })[cell.verdict[i]] * Math.max(real(cell.margin[i]), 0) || 0;
const scopeOf = (layer, cell, i) => (layer.whole ? "whole layer" : `chunk ${cell.chunk[i]}`);

// Columns before the bit-widths: name, scope, kurtosis.
const FIRST_BITS = 3;
const state = { text: "", verdict: "", bits: "", key: null, down: false };

// ---- filter and sort ----

function widths() {
  return data.bits.map((_, i) => i).filter((i) => state.bits === "" || String(data.bits[i]) === state.bits);
}

function fits(layer) {
  if (!layer.name.toLowerCase().includes(state.text)) return false;
  if (!state.verdict) return true;
  const verdicts = widths().map((i) => layer.cells[i]?.verdict ?? "").join("");
  if (state.verdict === "?") return verdicts.includes("?");
  const letter = state.verdict.toUpperCase();
  return state.verdict === letter
    ? verdicts.length > 0 && [...verdicts].every((v) => v === letter)
    : verdicts.includes(letter);
}

function shown() {
  return bodies.filter((body) => !body.hidden).map((body) => data.layers[body.dataset.layer]);
}

function filter() {
  for (const body of bodies) body.hidden = !fits(data.layers[body.dataset.layer]);
  data.bits.forEach((_, i) => {
    const hide = !widths().includes(i);
    const column = FIRST_BITS + i;
    if (table.tHead.rows[0].cells[column].hidden === hide) return;
    for (const row of [table.tHead.rows[0], ...bodies.map((body) => body.rows[0])]) row.cells[column].hidden = hide;
  });
  const count = bodies.filter((body) => !body.hidden).length;
  find("status").textContent = `${count} of ${bodies.length} layers${count ? "" : ": nothing fits, reset to see all"}`;
  stale = true;
  if (near) drawOverview();
}

function keyOf(layer, key) {
  const whole = layer.cells.filter((cell) => cell);
  const total = (name) => {
    let sum = 0;
    for (const cell of whole)
      for (const side of [cell.q, cell.p]) for (let i = 0; i < cell.chunk.length; i++) sum += pick(side[name], i);
    return sum;
  };
  if (key === "name") return layer.name;
  if (key === "chunks") return layer.whole ? 0 : new Set(whole.flatMap((cell) => cell.chunk)).size;
  if (key === "kurtosis") return layer.facts?.kurtosis ?? -Infinity;
  if (key === "open" || key === "seconds") return total(key);
  const cell = layer.cells[data.bits.findIndex((name) => String(name) === key.slice(5))];
  return cell ? Math.min(...cell.chunk.map((_, i) => signed(cell, i))) : -Infinity;
}

function sort(header) {
  const key = header.dataset.key;
  // First click: names up, numbers down; then the other way; then the network's order again.
  const first = key !== "name";
  if (state.key !== key) [state.key, state.down] = [key, first];
  else if (state.down === first) state.down = !first;
  else state.key = null;
  for (const other of table.tHead.rows[0].cells) {
    if (other === header && state.key) other.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else other.removeAttribute("aria-sort");
  }
  const keys = data.layers.map((layer) => (state.key ? keyOf(layer, key) : 0));
  const compare = (a, b) =>
    typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a < b ? -1 : a > b ? 1 : 0;
  const sorted = [...bodies].sort((a, b) => {
    const [i, j] = [+a.dataset.layer, +b.dataset.layer];
    return (state.down ? -1 : 1) * compare(keys[i], keys[j]) || i - j;
  });
  table.append(...sorted);
}

// ---- plots ----

function snrText({ layer, at, i }) {
  const cell = layer.cells[at];
  return `${layer.name}, ${scopeOf(layer, cell, i)}: ${verdictText(at, cell, i)}, margin ${dB(cell.margin[i])} dB`;
}

const revealMark = ({ layer, at }) => reveal(layer, data.bits[at]);

function* snrMarks(layer, at, named) {
  const cell = layer.cells[at];
  for (let i = 0; cell && i < cell.chunk.length; i++) {
    const [x, y] = [real(cell.p.achieved[i]), real(cell.q.achieved[i])];
    const [x1, y1] = [real(cell.p.limit[i]), real(cell.q.limit[i])];
    if (![x, y, x1, y1].every(Number.isFinite)) continue;
    const from = [real(cell.p.start[i]), real(cell.q.start[i])];
    const mark = { x, y, x1, y1, kind: cell.verdict[i] };
    if (!named && from.every(Number.isFinite)) mark.from = from;
    Object.assign(mark, { layer, at, i, text: snrText, pick: named ? revealMark : undefined });
    yield mark;
  }
}

function snrPanel(at, marks) {
  const range = spread(marks.flatMap((m) => [m.x, m.y, m.x1, m.y1, ...(m.from ?? [])]));
  const count = (letter) => marks.filter((m) => m.kind === letter).length;
  const [first, second] = data.names[at];
  const label = `${data.labels[at]}, ${first} SNR against ${second} SNR: ${count("Q")} for ${first}, ${count("P")} for ${second}, ${count("?")} undecided`;
  const title = data.labels[at];
  return panel({ title, label, xs: range, ys: range, marks, diagonal: true, names: [`${second} (dB)`, `${first} (dB)`] });
}

function kurtosisPanel(at, layers) {
  const marks = [];
  for (const layer of layers) {
    const cell = layer.cells[at];
    if (!cell || !layer.facts?.kurtosis) continue;
    const values = cell.chunk.map((_, i) => signed(cell, i)).filter(Number.isFinite);
    if (!values.length) continue;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const kind = new Set(cell.verdict).size === 1 ? cell.verdict[0] : "mixed";
    // The mark stands where all chunks reach at least; with several verdicts, in the middle of their range.
    const least = { Q: low, P: high, "?": 0, mixed: (low + high) / 2 }[kind];
    const x = Math.log10(layer.facts.kurtosis);
    marks.push({
      x, y: least, y1: kind === "P" ? low : high, kind, from: [x, low],
      text: () => `${layer.name}: kurtosis ${decimal(layer.facts.kurtosis)}, ${decimal(low)} … ${decimal(high)} dB over ${values.length} verdicts`,
      layer, at, pick: revealMark,
    });
  }
  const even = data.breakEven[at];
  const vertical = even === null ? null : Math.log10(even);
  const logs = marks.map((m) => m.x).concat(vertical ?? []);
  const xs = logs.length ? [Math.min(...logs) - 0.06, Math.max(...logs) + 0.06] : [0, 1];
  const label = `${data.labels[at]}, margin against kurtosis of the weights, ${marks.length} layers; theory's break-even at ${even}`;
  const title = data.labels[at] + (even === null ? "" : ` · theory even at ${decimal(even)}`);
  const ys = spread(marks.flatMap((m) => [m.y, m.y1, 0]));
  return panel({ title, label, xs, ys, marks, zero: true, vertical, logarithmic: true });
}

// Tens of thousands of marks: drawn when they come into view or go to print, not at every key pressed in the filter.
let stale = true, near = false;
function drawOverview() {
  if (!stale) return;
  stale = false;
  const layers = shown();
  const chosen = widths();
  const [snr, kurtosis] = [find("snr"), find("kurtosis")];
  snr.replaceChildren(...chosen.map((at) => snrPanel(at, layers.flatMap((layer) => [...snrMarks(layer, at, true)]))));
  const known = layers.some((layer) => layer.facts?.kurtosis);
  kurtosis.parentElement.hidden = !known;
  kurtosis.replaceChildren(...(known ? chosen.map((at) => kurtosisPanel(at, layers)) : []));
  find("overview").classList.toggle("single", chosen.length === 1);
}

// ---- details of a layer ----

function facts(layer) {
  const known = layer.facts;
  const entries = known
    ? [["rows", known.rows], ["columns", known.columns], ["groups", known.groups],
       ["Gram of input vectors", known.samples.toLocaleString("en")], ["kurtosis of the weights", known.kurtosis === null ? "undefined" : decimal(known.kurtosis)]]
    : [["rows", layer.rows]];
  const list = make("dl", {}, ...entries.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))));
  const notes = known ? [...known.notes] : ["This run was stored without facts of its layers."];
  if (known?.damping) notes.unshift(`${decimal(known.damping)} added to the Gram diagonal: errors are in the damped metric.`);
  return notes.length ? [list, make("ul", {}, ...notes.map((note) => make("li", {}, note)))] : [list];
}

function proof(side, i, rows) {
  const open = pick(side.open, i);
  return pick(side.evidence, i) + (open ? `; ${open} of ${rows} rows open (${pick(side.status, i).replace("_", " ")})` : "");
}

function recordTable(layer, at) {
  const cell = layer.cells[at];
  const th = (text, more = {}) => make("th", { scope: "col", ...more }, text);
  const columns = ["start (estimate)", "achieved", "limit", "proof", "seconds"];
  const head = make("thead", {},
    make("tr", {}, make("td", { colspan: 4 }), ...data.names[at].map((name) =>
      th(`${name} SNR (dB)`, { scope: "colgroup", colspan: 5, class: "first words" }))),
    make("tr", {}, th("scope"), th("columns"), th("verdict", { class: "words" }), th("margin (dB)"),
      ...[0, 1].flatMap(() => columns.map((name, i) => th(name, i ? (i === 3 ? { class: "words" } : {}) : { class: "first" })))));
  const rows = cell.chunk.map((_, i) => {
    const td = (text, kind) => make("td", kind ? { class: kind } : {}, String(text));
    const sides = [cell.q, cell.p].flatMap((side) => [
      td(dB(side.start[i]), "first"), td(dB(side.achieved[i])), td(dB(side.limit[i]) + (pick(side.any, i) ? ` (any scale ${dB(pick(side.any, i))})` : "")),
      td(proof(side, i, layer.rows), "words"), td(side.seconds[i]),
    ]);
    return make("tr", {}, make("th", { scope: "row" }, scopeOf(layer, cell, i)), td(pick(cell.columns, i)),
      td(verdictText(at, cell, i), "words"), td(dB(cell.margin[i])), ...sides);
  });
  const caption = make("caption", {}, make("span", {}, `${layer.name}${typeof data.bits[at] === "number" ? " at" : ","} ${data.labels[at]}; `,
    layer.whole ? "all columns together: a claim about the layer." : "each verdict speaks of its chunk alone."));
  return make("table", { class: "records" }, caption, head, make("tbody", {}, ...rows));
}

function detail(layer, bits) {
  const present = data.bits.map((_, i) => i).filter((i) => layer.cells[i]);
  const wide = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Records of ${layer.name}` });
  const group = `bits-of-${data.layers.indexOf(layer)}`;
  const chosen = present.includes(data.bits.indexOf(bits)) ? data.bits.indexOf(bits) : present[0];
  const choices = present.map((at) => {
    const input = make("input", { type: "radio", name: group, value: data.bits[at] });
    input.checked = at === chosen;
    input.addEventListener("change", () => wide.replaceChildren(recordTable(layer, at)));
    return make("label", {}, input, data.labels[at]);
  });
  wide.append(recordTable(layer, chosen));
  const claim = layer.whole
    ? "All columns were solved together: these are claims about the whole layer."
    : "Chunks of the layer's columns, solved one by one: each verdict speaks of its chunk alone, and they do not add up to one about the layer.";
  const panels = present.map((at) => snrPanel(at, [...snrMarks(layer, at, false)]));
  return make("div", {}, make("h3", {}, layer.name), make("p", {}, claim), ...facts(layer),
    make("figure", {}, make("div", { class: "panels" }, ...panels), make("figcaption", {},
      "From what is achieved to the limit on both axes: a rectangle, or a single mark where both sides are exact; " +
      "the thin line comes from the search's start. Above the diagonal the one on the vertical axis is better.")),
    make("fieldset", {}, make("legend", {}, "Records at"), ...choices), wide, ...steadiness(layer));
}

function toggle(body, bits, open = body.rows.length === 1) {
  const button = body.rows[0].querySelector("button");
  if (body.rows.length > 1) body.rows[1].remove();
  button.setAttribute("aria-expanded", String(open));
  button.removeAttribute("aria-controls");
  if (!open) return;
  const id = `detail-${body.dataset.layer}`;
  const cell = make("td", { class: "detail", colspan: body.rows[0].cells.length, id }, detail(data.layers[body.dataset.layer], bits));
  body.append(make("tr", {}, cell));
  button.setAttribute("aria-controls", id);
}

function reveal(layer, bits) {
  const body = bodies[data.layers.indexOf(layer)];
  toggle(body, bits, true);
  body.scrollIntoView({ block: "start" });
  body.rows[0].querySelector("button").focus();
}

// ---- events ----

const form = document.querySelector("form.controls");
function readControls() {
  Object.assign(state, { text: find("text").value.trim().toLowerCase(), verdict: find("verdict").value, bits: find("bits").value });
  filter();
}
form.addEventListener("input", readControls);
form.addEventListener("reset", () => setTimeout(readControls));
form.addEventListener("submit", (event) => event.preventDefault());
table.tHead.addEventListener("click", (event) => {
  const header = event.target.closest("th");
  if (header) sort(header);
});
table.addEventListener("click", (event) => {
  const row = event.target.closest(".heat > tbody > tr:first-child");
  if (!row || row.parentElement.parentElement !== table || String(getSelection())) return;
  const cell = event.target.closest("td");
  const bits = cell ? data.bits[cell.cellIndex - FIRST_BITS] : data.bits.find((name) => String(name) === state.bits);
  toggle(row.parentElement, bits);
});
new IntersectionObserver(([entry]) => {
  near = entry.isIntersecting;
  if (near) drawOverview();
}).observe(find("overview"));
addEventListener("beforeprint", drawOverview);
form.hidden = find("overview").hidden = false;
filter();
