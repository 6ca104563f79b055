// Would other calibration inputs agree? One panel a bit-width, one line a chunk; and the same as a table.

function steadyPanel(layer, cell, at) {
  const rows = cell.chunk.length, step = 13, L = 34, R = 10, T = 20, B = 30, W = 240, H = T + B + step * rows + 4;
  const values = [cell.all, cell.low, cell.high, ...cell.splits, ...cell.heldOut].flat().map(real).filter(Number.isFinite);
  const xs = spread([...values, 0], 0.03);
  const px = (v) => L + ((v - xs[0]) / (xs[1] - xs[0])) * (W - L - R);
  const flips = cell.letters.map((letters, i) => flipped(letters, cell.verdict[i]).length);
  const turned = flips.filter((n) => n).length;
  const label = `${data.bits[at]} bits, advantage of quantisation in dB for all inputs, ${data.stability.splits} splits and other inputs: ` +
    `${rows} comparisons, ${turned} with another verdict in some split`;
  const svg = make("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
  const add = (parent, name, more) => parent.append(make(`svg:${name}`, more));
  const text = (content, x, y, anchor, more = {}) =>
    svg.append(make("svg:text", { x: x.toFixed(1), y: y.toFixed(1), "text-anchor": anchor, ...more }, content));
  text(`${data.bits[at]} bits`, L, 12, "start", { class: "title" });
  text("advantage of quantisation (dB)", (L + W - R) / 2, H - 6, "middle");
  for (const v of ticks(...xs, 4)) {
    const x = px(v).toFixed(1);
    add(svg, "line", { class: Math.abs(v) < 1e-9 ? "zero" : "grid", x1: x, x2: x, y1: T, y2: H - B });
    text(decimal(v), px(v), H - B + 11, "middle");
  }
  cell.chunk.forEach((chunk, i) => {
    const y = T + step * (i + 0.5) + 2;
    const line = make("svg:g", {}, make("svg:title", {}, steadyWords(layer, cell, i)));
    svg.append(line);
    text(layer.whole ? "all" : String(chunk), L - 6, y + 3, "end");
    add(line, "rect", { x: 0, y: y - step / 2, width: W, height: step, "fill-opacity": 0 });
    const [low, high] = [real(cell.low[i]), real(cell.high[i])];
    if (Number.isFinite(low) && Number.isFinite(high))
      add(line, "line", { class: "reach", x1: px(low).toFixed(1), x2: px(high).toFixed(1), y1: y, y2: y });
    for (const v of cell.heldOut[i].map(real).filter(Number.isFinite))
      add(line, "path", { class: "held", d: `M${(px(v) - 2.2).toFixed(1)} ${y - 2.2}l4.4 4.4m0 -4.4l-4.4 4.4` });
    const odd = new Set(flipped(cell.letters[i], cell.verdict[i]));
    cell.splits[i].map(real).forEach((v, j) => {
      if (!Number.isFinite(v)) return;
      if (odd.has(j)) add(line, "path", { class: "split flip", d: `M${px(v).toFixed(1)} ${y - 3}l3 5.4h-6z` });
      else add(line, "circle", { class: "split", cx: px(v).toFixed(1), cy: y, r: 2.6 });
    });
    const x = px(real(cell.all[i]));
    if (Number.isFinite(x)) add(line, "path", { class: "all", d: `M${x.toFixed(1)} ${y - 3.4}l3.4 3.4l-3.4 3.4l-3.4 -3.4z` });
  });
  return make("div", { class: "panel" }, svg);
}

// Splits with a verdict of their own that is not the one of all inputs.
function flipped(letters, verdict) {
  return verdict === "?" ? [] : [...letters].flatMap((letter, j) => ("QP".includes(letter) && letter !== verdict ? [j] : []));
}

const about = (value) => (value === null ? "–" : typeof value === "string" ? value : decimal(Math.round(value / 10) / 100));
const extent = (values) => {
  const known = values.filter((v) => v !== null);
  if (!known.length) return "–";
  const sorted = [...known].sort((a, b) => real(a) - real(b));
  return `${about(sorted[0])} … ${about(sorted.at(-1))}`;
};
const chanceOf = (value) =>
  value === null ? "–" : value > 0 ? `${decimal(100 * value)} %` : `< ${decimal(100 / data.stability.resamples)} %`;
const needsOf = (value) => (value === null ? "more cannot tell" : value.toLocaleString("en"));

function steadyWords(layer, cell, i) {
  return `${scopeOf(layer, cell, i)}: all inputs ${about(cell.all[i])} dB, splits ${extent(cell.splits[i])}, ` +
    `other inputs ${about(cell.low[i])} … ${about(cell.high[i])}`;
}

function steadyTable(layer, cells) {
  const th = (text, more = {}) => make("th", { scope: "col", ...more }, text);
  const names = ["bits", "all inputs", ...Array.from({ length: data.stability.splits }, (_, j) => `split ${j + 1}`),
    "interval", "held out", "chance of a flip", "inputs needed"];
  const rows = cells.flatMap((cell, at) => !cell ? [] : cell.chunk.map((_, i) => {
    const td = (content) => make("td", {}, content);
    const odd = new Set(flipped(cell.letters[i], cell.verdict[i]));
    const splits = cell.splits[i].map((v, j) => {
      const words = `${cell.letters[i][j]} ${about(v)}`;
      return td(odd.has(j) ? make("b", {}, words) : words);
    });
    return make("tr", {}, make("th", { scope: "row" }, scopeOf(layer, cell, i)), td(String(data.bits[at])),
      td(`${cell.verdict[i]} ${about(cell.all[i])}`), ...splits, td(`${about(cell.low[i])} … ${about(cell.high[i])}`),
      td(extent(cell.heldOut[i])), td(chanceOf(cell.chance[i])), td(needsOf(cell.needs[i])));
  }));
  return make("table", { class: "records steady" },
    make("caption", {}, `Advantage of quantisation in dB; below zero pruning is better. ${data.stability.inputs} inputs.`),
    make("thead", {}, make("tr", {}, th("scope"), ...names.map((name) => th(name)))), make("tbody", {}, ...rows));
}

function steadiness(layer) {
  if (!data.stability || !layer.stability) return [];
  const mark = (kind, words) => [make("i", { class: `mark ${kind}` }), `${words} `];
  const wide = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Calibration of ${layer.name}` },
    steadyTable(layer, layer.stability));
  const panels = layer.stability.flatMap((cell, at) => (cell ? [steadyPanel(layer, cell, at)] : []));
  return [make("div", { class: "steadiness" }, make("h4", {}, "Would other calibration inputs agree?"),
    make("figure", {}, make("div", { class: "panels" }, ...panels), make("figcaption", {},
      ...mark("all", "all inputs"), ...mark("split", "a split, solved anew"), ...mark("flip", "a split with another verdict"),
      ...mark("held", "the weights of a split on all inputs outside it"),
      ...mark("reach", `interval for other inputs (${100 * data.stability.level} %, an estimate)`))), wide)];
}
