"use strict";
// Panels of marks on plain axes. Text comes in as text nodes only: names of layers never become markup.

const SVG = "http://www.w3.org/2000/svg";
const KIND = { Q: "q", P: "p", "?": "u", mixed: "x" };
// Circles and squares are line caps of lines without length; the others are drawn.
const SHAPE = { q: "h0", p: "h0", u: "m0 -3.2l3.2 3.2l-3.2 3.2l-3.2 -3.2z", x: "m-3.5 0h7m-3.5 -3.5v7" };

function make(tag, attributes = {}, ...children) {
  const element = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
  return found;
}

const decimal = (value) => String(+value.toPrecision(4)).replace("-", "−");

// marks: [{x, y, x1, y1, from, kind, text, pick}] in data units: (x1, y1) the far corner or end, from where a thin line
// comes; text(mark) is shown under the pointer, pick(mark) is called on a click.
function panel({ title, label, xs, ys, marks, names, diagonal, zero, vertical, logarithmic }) {
  const W = 240, H = 240, L = 34, B = 30, T = 20, R = 8;
  const px = (v) => L + ((v - xs[0]) / (xs[1] - xs[0])) * (W - L - R);
  const py = (v) => H - B - ((v - ys[0]) / (ys[1] - ys[0])) * (H - T - B);
  const at = (v) => v.toFixed(1);
  const svg = make("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
  const line = (kind, x0, y0, x1, y1) =>
    svg.append(make("svg:line", { class: kind, x1: at(x0), y1: at(y0), x2: at(x1), y2: at(y1) }));
  const text = (content, x, y, anchor, more = {}) =>
    svg.append(make("svg:text", { x: at(x), y: at(y), "text-anchor": anchor, ...more }, content));

  const across = logarithmic ? [2, 3, 5, 10, 20, 50, 100, 300, 1000, 3000, 10000].map(Math.log10) : ticks(...xs, 4);
  for (const v of across.filter((v) => v >= xs[0] && v <= xs[1])) {
    line("grid", px(v), T, px(v), H - B);
    text(decimal(logarithmic ? 10 ** v : v), px(v), H - B + 11, "middle");
  }
  for (const v of ticks(...ys, 5)) {
    line("grid", L, py(v), W - R, py(v));
    text(decimal(v), L - 4, py(v) + 3, "end");
  }
  text(title, L, 12, "start", { class: "title" });
  const [xName, yName] = names ?? ["kurtosis of the weights", "margin (dB)"];
  text(xName, (L + W - R) / 2, H - 6, "middle");
  text(yName, 0, 0, "middle", { transform: `translate(9 ${(T + H - B) / 2}) rotate(-90)` });
  if (diagonal) {
    const low = Math.max(xs[0], ys[0]), high = Math.min(xs[1], ys[1]);
    if (low < high) line("zero dashed", px(low), py(low), px(high), py(high));
  }
  if (zero && ys[0] < 0 && ys[1] > 0) line("zero", L, py(0), W - R, py(0));
  if (vertical !== null && vertical !== undefined && vertical > xs[0] && vertical < xs[1])
    line("zero dashed", px(vertical), T, px(vertical), H - B);

  // One path for all marks of a kind: thousands of marks cost a handful of elements.
  const paths = {};
  const draw = (key, d) => (paths[key] = (paths[key] ?? "") + d);
  const spots = [];
  const taken = new Set();
  for (const mark of marks) {
    const [x, y, x1, y1] = [px(mark.x), py(mark.y), px(mark.x1 ?? mark.x), py(mark.y1 ?? mark.y)];
    const kind = KIND[mark.kind];
    if (mark.from) draw(`lines ${kind}`, `M${at(px(mark.from[0]))} ${at(py(mark.from[1]))}L${at(x)} ${at(y)}`);
    if (Math.abs(x1 - x) > 0.5 && Math.abs(y1 - y) > 0.5)
      draw(`boxes ${kind}`, `M${at(x)} ${at(y)}H${at(x1)}V${at(y1)}H${at(x)}Z`);
    else if (Math.abs(x1 - x) + Math.abs(y1 - y) > 0.5) draw(`lines ${kind}`, `M${at(x)} ${at(y)}L${at(x1)} ${at(y1)}`);
    spots.push([x, y, mark]);
    // One dot for all marks of a kind on the same half pixel.
    const key = `${kind}${Math.round(2 * x)},${Math.round(2 * y)}`;
    if (!taken.has(key)) draw(`dots ${kind}`, `M${at(x)} ${at(y)}${SHAPE[kind]}`);
    taken.add(key);
  }
  for (const key of Object.keys(paths).sort().reverse()) svg.append(make("svg:path", { class: key, d: paths[key] }));

  const note = make("p", { "aria-hidden": "true" });
  const here = make("svg:circle", { class: "here", r: "5", visibility: "hidden" });
  svg.append(here);
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * W, y = ((event.clientY - box.top) / box.height) * H;
    let best = null, least = 144;
    for (const spot of spots) {
      const distance = (spot[0] - x) ** 2 + (spot[1] - y) ** 2;
      if (distance < least) [best, least] = [spot, distance];
    }
    return best;
  };
  svg.addEventListener("pointermove", (event) => {
    const spot = nearest(event);
    here.setAttribute("visibility", spot ? "visible" : "hidden");
    note.textContent = spot ? spot[2].text(spot[2]) : "";
    if (spot) here.setAttribute("cx", at(spot[0])), here.setAttribute("cy", at(spot[1]));
  });
  svg.addEventListener("pointerleave", () => {
    here.setAttribute("visibility", "hidden");
    note.textContent = "";
  });
  svg.addEventListener("click", (event) => {
    const mark = nearest(event)?.[2];
    mark?.pick?.(mark);
  });
  return make("div", { class: "panel" }, svg, note);
}

function spread(values, pad = 0.06) {
  let low = Infinity, high = -Infinity;
  for (const v of values) (low = Math.min(low, v)), (high = Math.max(high, v));
  if (low > high) return [0, 1];
  const room = pad * (high - low) + 0.5;
  return [low - room, high + room];
}
