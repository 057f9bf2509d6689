"use strict";
/* The sections on one run.  Each takes the run's data and returns an element. */

function runSections(run) {
  const timed = run.time;
  return [
    verdictSection(run), trafficSection(run), curveSection(run),
    ...(timed ? [timeSection(run), memorySection(run)] : []),
    energySection(run), timed ? rooflineSection(run) : null,
    timed && timed.sensitivity.length ? sensitivitySection(run) : null,
    networkSection(run), layersSection(run), machineSection(run), modelSection(run),
  ].filter(Boolean);
}

function verdictSection(run) {
  const cards = run.figures.map((each) => make("div", { class: "card" },
    make("div", { class: "value" }, each.text), make("div", { class: "what" }, each.what)));
  const levers = [["DRAM bytes", run.levers.bytes], ["time", run.levers.time]]
    .filter(([, list]) => list.length)
    .map(([what, list]) => make("div", {}, make("h3", {}, `What would change the ${what}`),
      make("ol", {}, ...list.map((lever) => make("li", {}, `${lever} of the ${what}.`)))));
  return section("verdict", "Verdict",
    make("div", { class: "verdict" }, ...run.verdict.map((sentence) => make("p", {}, sentence))),
    ...run.warnings.map((warning) => make("p", { class: "warning" }, warning)),
    make("div", { class: "cards" }, ...cards), make("div", { class: "columns" }, ...levers));
}

function usedReasons(run) {
  return run.reasons.filter((each) => each.bytes);
}

function trafficSection(run) {
  const reasons = usedReasons(run);
  const total = reasons.reduce((sum, each) => sum + each.bytes, 0);
  const { columns, moved } = run.layers;
  const count = columns.layer.length;
  const [factor, unit] = byteScale(Math.max(...columns["DRAM [B]"], 1));
  later.push(() => chart("traffic-plot", reasons.filter((each) => moved[each.reason]).map((each) => ({
    type: "bar", name: each.reason, marker: { color: each.colour },
    x: [...Array(count).keys()].map((i) => i + 1), y: moved[each.reason].map((v) => v / factor),
    customdata: columns.layer.map(plain),
    hovertemplate: `%{customdata}<br>${each.reason}: %{y:.4g} ${unit}<extra></extra>`,
  })), {
    barmode: "stack", bargap: count > 120 ? 0 : 0.15, height: 380,
    xaxis: layerAxis(columns.layer), yaxis: { title: { text: `DRAM bytes [${unit}]` } },
  }));
  const rows = reasons.map((each) => [each.reason, each.bytes.toLocaleString("en-US"), `${((100 * each.bytes) / total).toFixed(1)} %`]);
  return section("traffic", "DRAM bytes, by reason and layer",
    figure("traffic-plot", "Layers in the network's order; drag to zoom in, double click to see all. Each byte has one reason.",
      `Stacked bars of the DRAM bytes of ${count} layers by reason; the table below has the totals.`),
    table(["reason", "bytes", "share"], [...rows, ["total", total.toLocaleString("en-US"), "100.0 %"]], [1, 2]));
}

/* Layers as 1, 2, ...; by name where there is room for names. */
function layerAxis(names) {
  if (names.length > 48) return { title: { text: "layer, in the network's order" }, range: [0.4, names.length + 0.6] };
  return {
    tickvals: names.map((_, i) => i + 1), ticktext: names.map((n) => plain(n.length > 24 ? `${n.slice(0, 10)}…${n.slice(-12)}` : n)),
    tickangle: -60, tickfont: { size: 10 }, range: [0.4, names.length + 0.6],
  };
}

const KIB = 1024;
const SHOWN_BELOW = 32; // a curve begins, at first, at the run's memory over that

function curveTraces(curves, factor, from, to, colours) {
  return curves.map((curve, place) => {
    const [x, y] = [[...curve.local], curve.dram.map((value) => value / factor)];
    x.push(Math.max(to, x[x.length - 1]));
    y.push(y[y.length - 1]);
    return {
      type: "scatter", mode: "lines+markers", name: plain(curve.label || curve.policy), x, y,
      line: { shape: "hv", width: 2, color: colours[place] }, marker: { size: 4, color: colours[place] },
      customdata: x.map(capacityText), hovertemplate: "from %{customdata}: %{y:.5g}<extra></extra>",
    };
  });
}

function curveSection(run) {
  if (!run.curves.length)
    return section("curve", "Budget curve", make("p", {}, "A machine whose local memory has banks has no curve."));
  const chosen = run.curves.map((curve) => curve.chosen).find(Boolean);
  const capacity = chosen ? chosen.capacity : 0;
  const least = Math.min(...run.curves.map((curve) => curve.local[0]));
  const from = Math.max(least, capacity / SHOWN_BELOW) / 1.2;
  const to = Math.max(...run.curves.map((curve) => curve.local[curve.local.length - 1]), capacity) * 1.5;
  const highest = Math.max(...run.curves.map((curve) => curve.dram[curve.local.findLastIndex((size) => size <= Math.max(from, curve.local[0]))]));
  const [factor, unit] = byteScale(highest);
  const floor = run.curves[0].floor;
  const traces = curveTraces(run.curves, factor, from, to, ["#767676", "#0072b2"].slice(-run.curves.length));
  if (chosen) traces.push({
    type: "scatter", mode: "markers", name: "this run", x: [chosen.capacity], y: [chosen.dram / factor],
    marker: { symbol: "star", size: 15, color: "#d55e00", line: { color: "#ffffff", width: 1 } },
    hovertemplate: `${capacityText(chosen.capacity)}: %{y:.5g} ${unit}<extra>this run</extra>`,
  });
  later.push(() => chart("curve-plot", traces, {
    height: 380, xaxis: memoryAxis(from, to), yaxis: { title: { text: `DRAM bytes a frame [${unit}]` }, range: [0, (1.05 * highest) / factor] },
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: floor / factor, y1: floor / factor, line: { dash: "dash", width: 1 } }],
    annotations: [{ xref: "paper", x: 0, xanchor: "left", y: floor / factor, yanchor: "bottom", text: `compulsory floor ${bytesText(floor)}`, showarrow: false }],
  }));
  const told = chosen ? `The run uses the breakpoint at ${chosen.breakpoint.toLocaleString("en-US")} B` +
    (chosen.next ? `; the next one is at ${chosen.next.toLocaleString("en-US")} B. ` : ", the last one. ") :
    "The run is no point of a curve: its objective, frames or machine move other bytes. ";
  const longest = run.curves[run.curves.length - 1];
  const points = new DataTable("breakpoints", `breakpoints of ${longest.policy}`,
    { "local memory [B]": longest.local, "DRAM [B]": longest.dram, "over the floor": longest.dram.map((v) => v / floor) });
  return section("curve", "Budget curve",
    figure("curve-plot", `${told}Exact: each step stands where its breakpoint is; ${longest.precision}.`,
      `Steps of DRAM bytes against local memory for ${run.curves.map((c) => c.policy).join(" and ")}, down to the floor of ${bytesText(floor)}.`),
    make("details", {}, make("summary", {}, `Breakpoints of ${longest.policy}: ${longest.local.length.toLocaleString("en-US")}`), points.element()));
}

function energySection(run) {
  const parts = run.energy;
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  const colours = { MAC: "#0072b2", DRAM: "#d55e00", "DRAM, background": "#e69f00", "local memory": "#009e73", static: "#555555" };
  later.push(() => chart("energy-plot", [{
    type: "bar", orientation: "h", y: parts.map(([name]) => name), x: parts.map(([, value]) => value),
    marker: { color: parts.map(([name]) => colours[name] || "#cc79a7") },
    text: parts.map(([, value]) => `${value.toLocaleString("en-US", { maximumFractionDigits: 2 })} uJ, ${((100 * value) / total).toFixed(1)} %`),
    textposition: "auto", hovertemplate: "%{y}: %{x:.5g} uJ<extra></extra>",
  }], { height: 90 + 34 * parts.length, xaxis: { title: { text: "energy of a frame [uJ]" } }, yaxis: { autorange: "reversed" } }));
  return section("energy", "Energy",
    figure("energy-plot", `${(total / 1e3).toFixed(3)} mJ a frame: counts times what the machine's file says that each costs.`,
      `Bars of energy: ${parts.map(([name, value]) => `${name} ${((100 * value) / total).toFixed(0)} %`).join(", ")}.`));
}

const BOUND = {
  compute: "#08519c", dram: "#d94801", latency: "#54278f", flash: "#41ab5d", "system cache": "#7f2704",
  "local memory": "#3f6a8c", nothing: "#969696", network: "#1a1a1a",
};

function rooflineSection(run) {
  const { peak, bandwidth, knee, points } = run.time.roofline;
  const known = points.map((point) => point[1]).filter((value) => value);
  const [low, high] = [Math.min(knee, ...known) / 4, Math.max(knee, ...known) * 4];
  const traces = [{
    type: "scatter", mode: "lines", name: "roof", x: [low, knee, high], y: [low * bandwidth, peak, peak],
    line: { color: "#1a1a1a", width: 1.5 }, hoverinfo: "skip",
  }];
  for (const [name, colour] of Object.entries(BOUND)) {
    const of = points.filter((point) => point[3] === name);
    if (of.length) traces.push({
      type: "scatter", mode: "markers", name, x: of.map((p) => p[1] || high / 1.2), y: of.map((p) => p[2]),
      marker: { color: colour, size: name === "network" ? 14 : 7, symbol: name === "network" ? "star" : "circle" },
      customdata: of.map((p) => plain(p[0])), hovertemplate: "%{customdata}<br>%{x:.4g} op/B, %{y:.4g} Gop/s<extra></extra>",
    });
  }
  later.push(() => chart("roofline-plot", traces, {
    height: 400, xaxis: { type: "log", title: { text: "operations per DRAM byte (2 a MAC)" }, range: [Math.log10(low), Math.log10(high)] },
    yaxis: { type: "log", title: { text: "Gop/s" } },
  }));
  return section("roofline", "Roofline",
    figure("roofline-plot", `Knee at ${knee.toFixed(1)} operations per byte. Colours tell what limits a layer; layers that move nothing stand at the right edge.`,
      `Layers under a roof of ${peak.toFixed(1)} Gop/s and ${bandwidth.toFixed(2)} GB/s.`));
}

function sensitivitySection(run) {
  const base = run.time.latency_ms / 1e3;
  const bytes = run.figures[0].value;
  const energy = run.figures.find((each) => each.what === "energy").value;
  const change = (value, of) => (value === null ? "" : `${value >= of ? "+" : ""}${((100 * value) / of - 100).toFixed(1)} %`);
  const rows = run.time.sensitivity.map(([resource, factor, latency, moved, pj, note]) => [
    `${resource} x ${factor}`, latency === null ? "does not fit" : `${(latency * 1e3).toFixed(3)} ms`,
    change(latency, base), moved === null ? "" : bytesText(moved), change(moved, bytes), change(pj, energy), note,
  ]);
  return section("sensitivity", "What more or less of a resource does",
    table(["machine with", "latency", "changes by", "DRAM", "changes by", "energy changes by", ""], rows, [1, 2, 3, 4, 5]));
}

function networkSection(run) {
  return section("network", "Groups on the network",
    make("p", {}, "Layers from the top down in the order in which they run; a lane is a map from the layer that makes it to the last one that reads it."),
    networkLegend(),
    make("div", { class: "scroll tall network", tabindex: 0, role: "region", "aria-label": "network" }, networkPicture(run.network)));
}

function layersSection(run) {
  const rows = new DataTable("layers-table", `layers of ${run.name}`, run.layers.columns);
  return section("layers", "Layers", rows.element());
}

function machineSection(run) {
  const figures = new DataTable("figures", "figures of the machine", {
    key: run.machine.map((row) => row[0]), value: run.machine.map((row) => row[1]),
    "how well known": run.machine.map((row) => row[2]), source: run.machine.map((row) => row[3]),
  });
  return section("machine", "Configuration",
    table(["asked for", ""], run.asked), make("h3", {}, "Figures of the machine's file"),
    make("p", {}, "published: the source states it; derived: it follows from what one states; assumed: nobody states it; set: changed for this run. What is not listed has its documented default."),
    figures.element());
}

function modelSection(run) {
  const changes = run.what_ifs.map(([text, ...effects]) => make("li", {}, `${text}: ${effects.join("; ")}`));
  return section("model", "What the numbers mean",
    ...(changes.length ? [make("h3", {}, "What was changed of the network"), make("ul", {}, ...changes)] : []),
    make("h3", {}, "Modelling decisions that apply"),
    make("ul", {}, ...run.decisions.map(([number, title]) => make("li", {}, `${number} ${title}`))),
    make("p", {}, "Each is a page under reports/decisions of the project."),
    make("details", {}, make("summary", {}, "What is not modelled"),
      make("ul", {}, ...run.not_modelled.map((text) => make("li", {}, text)))));
}
