"use strict";
/* What all sections of the page share: reading the data, making elements, drawing charts. */

async function unpacked(id) {
  const text = document.getElementById(id).textContent.trim();
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/* An element; texts become text nodes, so that no name is ever read as markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(key, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== null) element.textContent = text;
  return element;
}

function bytesText(bytes) {
  for (const [factor, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "KB"]])
    if (Math.abs(bytes) >= factor) return `${(bytes / factor).toFixed(3)} ${unit}`;
  return `${bytes} B`;
}

function capacityText(bytes) {
  for (const [factor, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]])
    if (bytes >= factor) return `${Number((bytes / factor).toFixed(2))} ${unit}`;
  return `${bytes} B`;
}

/* The decimal unit in which the largest of some bytes reads best. */
function byteScale(largest) {
  for (const [factor, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "KB"]])
    if (largest >= factor) return [factor, unit];
  return [1, "B"];
}

function numberText(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-3)) return value.toExponential(4);
  return value.toLocaleString("en-US", { maximumFractionDigits: 4 });
}

/* Plotly reads a few tags in its texts; what is not meant as one is escaped. */
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const FONT = { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: 12, color: "#1a1a1a" };
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
/* Okabe and Ito's colours, safe for colour blindness, but for the yellow one. */
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555"];

function layoutOf(layout) {
  const axis = { gridcolor: "#dddddd", zerolinecolor: "#999999", linecolor: "#999999", automargin: true };
  const found = {
    font: FONT, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", hovermode: "closest",
    margin: { l: 60, r: 20, t: 16, b: 50 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    ...layout,
  };
  for (const key of ["xaxis", "yaxis", "yaxis2"])
    if (key in found) found[key] = { ...axis, ...found[key] };
  return found;
}

/* What needs the page's width to be drawn: drawn once its element stands in the page. */
const later = [];

/* A figure with its caption below; `alt` tells in a sentence what is seen. */
function figure(id, caption, alt, ...more) {
  const plot = make("div", { id, class: "plot", role: "group", "aria-label": alt });
  return make("figure", {}, ...more, plot, make("figcaption", {}, caption));
}

/* Ticks at powers of two of an axis in KiB that is logarithmic. */
function memoryAxis(from, to) {
  const ticks = [];
  for (let size = 2 ** Math.floor(Math.log2(from)); size <= to; size *= 2) ticks.push(size);
  const step = Math.ceil(ticks.length / 14);
  const shown = ticks.filter((_, i) => i % step === 0);
  return {
    type: "log", title: { text: "local memory" }, tickvals: shown, ticktext: shown.map(capacityText),
    range: [Math.log10(from), Math.log10(to)],
  };
}

function chart(id, traces, layout) {
  return Plotly.react(id, traces, layoutOf(layout), CONFIG);
}

function section(id, title, ...children) {
  return make("section", { id, "aria-labelledby": `${id}-title` },
    make("h2", { id: `${id}-title` }, title), ...children);
}

/* A small table of texts; columns that `numeric` names by their place are right-aligned. */
function table(heads, rows, numeric = [], caption = null) {
  const cell = (tag, text, place, more = {}) =>
    make(tag, { class: numeric.includes(place) ? "number" : null, ...more }, text);
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption || heads.join(", ") },
    make("table", {},
      make("thead", {}, make("tr", {}, ...heads.map((h, i) => cell("th", h, i, { scope: "col" })))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((c, i) => cell("td", c, i)))))));
}

function saved(name, text, kind) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function csvOf(heads, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [heads, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
