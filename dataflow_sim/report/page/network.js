"use strict";
/* The network: a row a layer, in the order in which they run; a lane for every map alive. */

const WAYS = {
  rows: ["#0072b2", "rows, inside a merged group", ""],
  resident: ["#7f2704", "whole, stays in local memory", ""],
  dram: ["#d94801", "through DRAM", "5 2"],
};
const ROW = 18, LANE = 14, LEFT = 26;

function networkPicture(network) {
  const { rows, edges, lanes, merged } = network;
  const names = LEFT + lanes * LANE + 12;
  const most = Math.max(1, ...rows.map((row) => row[4]));
  const width = names + 640, height = rows.length * ROW + 8;
  const svg = drawn("svg", {
    width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${rows.length} rows of layers in execution order with ${lanes} lanes of maps`,
  });
  const middle = (row) => row * ROW + ROW / 2 + 4;
  const across = (lane) => LEFT + lane * LANE + LANE / 2;
  drawGroups(svg, rows, merged, width);
  for (const [source, target, tensor, size, way] of edges) {
    const [colour, meaning, dash] = WAYS[way];
    const [x, y, u, v] = [across(rows[source][2]), middle(source), across(rows[target][2]), middle(target)];
    const path = x === u ? `M${x} ${y}V${v}` : `M${x} ${y}V${v - ROW / 2}Q${x} ${v} ${u} ${v}`;
    const line = drawn("path", {
      d: path, stroke: colour, "stroke-width": 2, fill: "none", "stroke-dasharray": dash,
    });
    line.append(drawn("title", {}, `${tensor}: ${bytesText(size)}, ${meaning}`));
    svg.append(line);
  }
  rows.forEach(([name, op, lane, group, bytes], row) => {
    const y = middle(row);
    const node = drawn("circle", { cx: across(lane), cy: y, r: 4.5, fill: group === null ? "#ffffff" : "#1a1a1a", stroke: "#1a1a1a" });
    node.append(drawn("title", {}, `${name}: ${op}, ${bytesText(bytes)} of DRAM traffic`));
    svg.append(node, drawn("text", { x: names, y: y + 4, class: "layer" }, name));
    svg.append(drawn("text", { x: names + 330, y: y + 4, class: "op" }, op.length > 22 ? `${op.slice(0, 21)}…` : op));
    if (bytes) {
      const long = (150 * bytes) / most;
      svg.append(drawn("rect", { x: names + 470, y: y - 5, width: Math.max(1, long), height: 10, fill: "#3f6a8c" }));
      if (bytes > most / 12)
        svg.append(drawn("text", { x: names + 474 + long, y: y + 4, class: "bytes" }, bytes > most / 3 ? "" : bytesText(bytes)));
    }
  });
  return svg;
}

/* Groups as bands behind their rows; merged ones with a bracket and their number. */
function drawGroups(svg, rows, merged, width) {
  let first = 0;
  while (first < rows.length) {
    const group = rows[first][3];
    let stop = first + 1;
    while (stop < rows.length && rows[stop][3] === group && group !== null) stop += 1;
    if (group !== null && merged[group]) {
      const [top, tall] = [first * ROW + 5, (stop - first) * ROW - 2];
      svg.append(drawn("rect", { x: 2, y: top, width: width - 4, height: tall, rx: 4, fill: group % 2 ? "#eef4fa" : "#e2ecf6" }));
      svg.append(drawn("rect", { x: 2, y: top, width: 3, height: tall, fill: "#0072b2" }));
      svg.append(drawn("text", { x: 8, y: top + 12, class: "group" }, String(group)));
    }
    first = stop;
  }
}

function networkLegend() {
  const items = Object.values(WAYS).map(([colour, meaning, dash]) => {
    const svg = drawn("svg", { width: 34, height: 10, "aria-hidden": "true" });
    svg.append(drawn("path", { d: "M2 5H32", stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }));
    return make("li", {}, svg, ` ${meaning}`);
  });
  return make("ul", { class: "legend" }, ...items,
    make("li", {}, make("span", { class: "band" }), " merged group, with its number"),
    make("li", {}, make("span", { class: "bar" }), " DRAM bytes of the layer"));
}
