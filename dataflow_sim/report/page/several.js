"use strict";
/* Several runs side by side: figures with differences marked, bytes by reason, curves, layers. */

function severalSections(runs, comparisons) {
  return [sideBySide(runs), reasonsTogether(runs), curvesTogether(runs), ...comparisons.map(comparisonSection)];
}

function sideBySide(runs) {
  const names = [...new Set(runs.flatMap((run) => run.figures.map((each) => each.what)))];
  const asked = [...new Set(runs.flatMap((run) => run.asked.map(([key]) => key)))];
  const first = (run, what) => run.figures.find((each) => each.what === what);
  const rows = names.map((what) => {
    const base = first(runs[0], what);
    return make("tr", {}, make("th", { scope: "row" }, what), ...runs.map((run) => {
      const own = first(run, what);
      if (!own) return make("td", { class: "number" }, "");
      const same = !base || own.value === base.value;
      const better = same || !own.better ? null : (own.value - base.value) * own.better > 0;
      const change = same || !base.value ? "" : ` (${own.value > base.value ? "+" : ""}${((100 * own.value) / base.value - 100).toFixed(1)} %)`;
      const mark = same ? "" : better === null ? " ≠" : better ? " ▲ better" : " ▼ worse";
      return make("td", { class: `number ${same ? "" : better === null ? "differs" : better ? "better" : "worse"}` },
        own.text, make("span", { class: "change" }, `${change}${mark}`));
    }));
  });
  const inputs = asked.map((key) => {
    const values = runs.map((run) => run.asked.filter(([own]) => own === key).map(([, value]) => value).join("; "));
    const same = values.every((value) => value === values[0]);
    return make("tr", { class: same ? null : "differs" }, make("th", { scope: "row" }, key), ...values.map((value) => make("td", {}, value)));
  });
  const grid = make("table", { class: "side" },
    make("thead", {}, make("tr", {}, make("th", {}, ""), ...runs.map((run) => make("th", { scope: "col" }, run.name)))),
    make("tbody", {}, ...inputs, ...rows));
  return section("side", "Side by side",
    make("p", {}, "Differences are to the first run; what was asked for and differs is marked."),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "runs side by side" }, grid),
    ...runs.map((run) => make("div", { class: "verdict" }, make("h3", {}, run.name), ...run.verdict.map((text) => make("p", {}, text)))));
}

function reasonsTogether(runs) {
  const [factor, unit] = byteScale(Math.max(...runs.map((run) => run.figures[0].value)));
  const reasons = runs[0].reasons.filter((each, place) => runs.some((run) => run.reasons[place].bytes));
  later.push(() => chart("together-plot", reasons.map((each) => ({
    type: "bar", orientation: "h", name: each.reason, marker: { color: each.colour }, y: runs.map((_, i) => i),
    x: runs.map((run) => run.reasons.find((own) => own.reason === each.reason).bytes / factor),
    hovertemplate: `${each.reason}: %{x:.4g} ${unit}<extra></extra>`,
  })), {
    barmode: "stack", height: 150 + 44 * runs.length, xaxis: { title: { text: `DRAM bytes [${unit}]` } },
    yaxis: { autorange: "reversed", tickvals: runs.map((_, i) => i), ticktext: runs.map((run) => plain(run.name)) },
  }));
  return section("together", "DRAM bytes by reason",
    figure("together-plot", "Every run's bytes, by reason, in the same colours as below.", "Stacked bars of DRAM bytes by reason, one for each run."));
}

function curvesTogether(runs) {
  const curves = runs.flatMap((run) => run.curves.slice(-1).map((curve) => ({ ...curve, label: run.name })));
  if (!curves.length) return null;
  const chosen = runs.map((run) => run.curves.map((curve) => curve.chosen).find(Boolean)).filter(Boolean);
  const from = Math.min(...curves.map((curve) => curve.local[0])) / 1.2;
  const to = Math.max(...curves.map((curve) => curve.local[curve.local.length - 1]), ...chosen.map((each) => each.capacity)) * 1.5;
  const [factor, unit] = byteScale(Math.max(...curves.flatMap((curve) => curve.dram)));
  const traces = curveTraces(curves, factor, from, to, curves.map((_, i) => PALETTE[i % PALETTE.length]));
  if (chosen.length) traces.push({
    type: "scatter", mode: "markers", name: "these runs", x: chosen.map((c) => c.capacity), y: chosen.map((c) => c.dram / factor),
    marker: { symbol: "star", size: 14, color: "#1a1a1a" }, hovertemplate: `%{y:.5g} ${unit}<extra></extra>`,
  });
  later.push(() => chart("curves-plot", traces, { height: 400, xaxis: memoryAxis(from, to), yaxis: { title: { text: `DRAM bytes a frame [${unit}]` }, rangemode: "tozero" } }));
  return section("curves", "Budget curves",
    figure("curves-plot", "Each run's own policy; stars are the runs.", `Budget curves of ${curves.length} runs.`));
}

function comparisonSection(found, place) {
  const text = (value) => (value === null ? "-" : numberText(value));
  const change = (each) => [each.what, text(each.before), text(each.after), each.ratio === null ? "" : `${each.ratio >= 1 ? "+" : ""}${(100 * each.ratio - 100).toFixed(2)} %`];
  const parts = [];
  if (found.inputs.length) parts.push(make("h3", {}, "What was asked"), table(["", found.before, found.after, ""], found.inputs.map(change)));
  if (found.figures.length) parts.push(make("h3", {}, "What was found"), table(["", found.before, found.after, ""], found.figures.map(change), [1, 2, 3]));
  if (found.layers.length) {
    const reasons = [...new Set(found.layers.flatMap((layer) => Object.keys(layer.by_reason)))];
    const rows = new DataTable(`changes-${place}`, `layers ${found.before} to ${found.after}`, {
      layer: found.layers.map((each) => each.layer), "before [B]": found.layers.map((each) => each.before_bytes),
      "after [B]": found.layers.map((each) => each.after_bytes), "difference [B]": found.layers.map((each) => each.difference_bytes),
      ...Object.fromEntries(reasons.map((reason) => [reason, found.layers.map((each) => each.by_reason[reason] || 0)])),
      why: found.layers.map((each) => each.why.join("; ")),
    });
    parts.push(make("h3", {}, "Layers that moved, by reason"), rows.element());
  }
  if (!parts.length) parts.push(make("p", {}, "Nothing differs."));
  return section(`change-${place}`, `${found.before} to ${found.after}`, ...parts);
}
