"use strict";
/* Time: what every engine does, rates on DRAM, and local memory. */

const BARS_AT_ONCE = 700; // of a track, within what is seen
const READ = "#08519c", WRITTEN = "#d94801";

/* Bars of a track within [from, to]: neighbours that are narrower than what can be seen are one. */
function visibleBars(track, from, to) {
  const least = (to - from) / BARS_AT_ONCE;
  const bars = [];
  const { start_us: start, us, of } = track;
  for (let i = 0; i < start.length; i += 1) {
    const end = start[i] + us[i];
    if (end < from || start[i] > to) continue;
    const last = bars[bars.length - 1];
    if (last && start[i] - last.end < least && (last.of === of[i] || last.end - last.start < least)) {
      last.end = Math.max(last.end, end);
      last.work += us[i];
      if (last.of !== of[i]) last.others += 1;
      last.events += 1;
    } else bars.push({ start: start[i], end, of: of[i], others: 0, events: 1, work: us[i] });
  }
  return bars;
}

function colourOf(track, bar) {
  if (track.name === "compute") return PALETTE[bar.of % PALETTE.length];
  return track.name.endsWith("out") ? WRITTEN : READ;
}

class Timeline {
  constructor(run) {
    this.time = run.time;
    [this.factor, this.unit] = this.time.latency_ms >= 10 ? [1e3, "ms"] : [1, "us"]; // in us
    this.whole = [0, (this.time.latency_ms * 1e3) / this.factor];
    this.range = [...this.whole];
  }

  element() {
    const button = (label, told, act) => make("button", { type: "button", "aria-label": told, title: told, onclick: act }, label);
    const controls = make("div", { class: "controls" },
      button("+", "zoom in", () => this.zoom(0.5, 0)), button("−", "zoom out", () => this.zoom(2, 0)),
      button("←", "earlier", () => this.zoom(1, -0.5)), button("→", "later", () => this.zoom(1, 0.5)),
      button("all", "the whole frame", () => this.move(this.whole)));
    const joined = this.time.tracks.filter((track) => track.events > track.of.length);
    const told = joined.map((track) => `${track.name} has ${track.events.toLocaleString("en-US")} events, neighbours joined`).join("; ");
    return figure("timeline-plot", `Steps by layer, and what each bus moves in and out; narrow neighbours are drawn as one until you zoom in. ${told}`,
      `What each engine does over ${this.time.latency_ms.toFixed(3)} ms; the table below has the sums.`, controls);
  }

  zoom(factor, shift) {
    const width = this.range[1] - this.range[0];
    const middle = (this.range[0] + this.range[1]) / 2 + shift * width;
    this.move([middle - (width * factor) / 2, middle + (width * factor) / 2]);
  }

  move([from, to]) {
    const width = Math.min(to - from, this.whole[1]);
    const first = Math.min(Math.max(0, from), this.whole[1] - width);
    this.range = [first, first + width];
    this.draw();
  }

  draw() {
    const [from, to] = this.range;
    const traces = this.time.tracks.map((track) => {
      const bars = visibleBars(track, from * this.factor, to * this.factor);
      return {
        type: "bar", orientation: "h", name: track.name, y: bars.map(() => track.name), base: bars.map((b) => b.start / this.factor),
        x: bars.map((b) => (b.end - b.start) / this.factor), width: 0.7, showlegend: false,
        marker: { color: bars.map((b) => colourOf(track, b)), line: { width: 0 } },
        customdata: bars.map((b) => [plain(track.names[b.of]) + (b.others ? ` and ${b.others} more` : ""), b.events, b.start / this.factor]),
        hovertemplate: `%{customdata[0]}<br>from %{customdata[2]:.4f} ${this.unit} for %{x:.4f} ${this.unit}, %{customdata[1]} events<extra></extra>`,
      };
    });
    const names = this.time.tracks.map((track) => track.name);
    return chart("timeline-plot", traces, {
      height: 130 + 46 * names.length, barmode: "overlay", dragmode: "zoom",
      xaxis: { range: [from, to], title: { text: `time [${this.unit}]` } },
      yaxis: { fixedrange: true, categoryorder: "array", categoryarray: [...names].reverse() },
    });
  }

  async start() {
    const plot = await this.draw();
    plot.on("plotly_relayout", (change) => {
      const seen = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (seen[0] !== undefined) this.move(seen.map(Number));
      else if (change["xaxis.autorange"]) this.move(this.whole);
    });
  }
}

function timeSection(run) {
  const { engines, rates, latency_ms: latency } = run.time;
  const timeline = new Timeline(run);
  later.push(() => timeline.start());
  later.push(() => drawRates(rates));
  const rows = engines.map(([name, busy, waits]) => [name, `${busy.toFixed(3)} ms`, `${((100 * busy) / latency).toFixed(1)} %`,
    Object.entries(waits).filter(([, value]) => value > 0).map(([cause, value]) => `${cause} ${((100 * value) / latency).toFixed(1)} %`).join(", ")]);
  const moved = Object.entries(rates.buses).map(([name, [mean, pins]]) => `${name}: ${mean.toFixed(3)} GB/s on average of ${pins.toFixed(3)} at its pins`);
  return section("time", "Time",
    timeline.element(), table(["engine", "works", "share", "waits for"], rows, [1, 2]),
    make("h3", {}, "Bandwidth over time"),
    figure("rates-plot", `${moved.join("; ")}. Means of ${rates.read.length} windows of equal length.`, `DRAM rates over ${latency.toFixed(3)} ms, read and written.`));
}

function drawRates(rates) {
  const edges = rates.edges_ms;
  const area = (values, name, colour) => ({
    type: "scatter", mode: "lines", name, x: edges, y: [...values, values[values.length - 1]], stackgroup: "one",
    line: { shape: "hv", width: 0, color: colour }, fillcolor: colour, hovertemplate: `%{y:.3f} GB/s ${name}<extra></extra>`,
  });
  const traces = [area(rates.read, "read", READ), area(rates.written, "written", WRITTEN)];
  const dram = rates.buses.dram;
  if (dram) for (const [value, name, dash] of [[dram[0], "mean", "solid"], [dram[1], "pins", "dot"]])
    traces.push({ type: "scatter", mode: "lines", name, x: [edges[0], edges[edges.length - 1]], y: [value, value], line: { color: "#1a1a1a", width: 1.2, dash }, hovertemplate: `${name} %{y:.3f} GB/s<extra></extra>` });
  return chart("rates-plot", traces, {
    height: 300, hovermode: "x", xaxis: { title: { text: "time [ms]" }, range: [edges[0], edges[edges.length - 1]] }, yaxis: { title: { text: "DRAM [GB/s]" }, rangemode: "tozero" },
  });
}

function memorySection(run) {
  const { live, boxes } = run.time;
  if (!live) return section("memory", "Local memory over time", make("p", {}, "No buffer is listed."));
  const [factor, unit] = [KIB, "KiB"];
  later.push(() => drawLive(live, factor, unit));
  later.push(() => drawBoxes(run, live, boxes, factor, unit));
  const rows = live.peak.map(([held, name, count, size]) => [held, name, count.toLocaleString("en-US"), size.toLocaleString("en-US")]);
  const peak = live.peak.reduce((sum, each) => sum + each[3], 0);
  const left = boxes.left_out ? ` The ${boxes.left_out.toLocaleString("en-US")} buffers of least area are left out.` : "";
  return section("memory", "Local memory over time",
    figure("live-plot", `What is in use, by what it holds; the most, ${peak.toLocaleString("en-US")} B, at ${live.peak_ms.toFixed(4)} ms.`,
      `Stacked areas of local memory in use over time, of ${capacityText(live.capacity)}; the table below has the names at the peak.`),
    make("details", { open: rows.length <= 12 }, make("summary", {}, `Who is there at the peak: ${rows.length} names`),
      table(["holds", "buffer", "count", "bytes"], rows, [2, 3])),
    make("h3", {}, "Who lies where"),
    figure("boxes-plot", `Each box is a buffer: its addresses, and from when to when it is in use.${left}`,
      `Map of ${boxes.boxes.length} buffers in local memory over time.`));
}

function drawLive(live, factor, unit) {
  const traces = live.kinds.map((kind, place) => ({
    type: "scatter", mode: "lines", name: kind, x: live.ms, y: live.held[place].map((value) => value / factor), stackgroup: "one",
    line: { shape: "hv", width: 0, color: live.colours[place] }, fillcolor: live.colours[place], hovertemplate: `%{y:.2f} ${unit}<extra>${kind}</extra>`,
  })).filter((trace) => trace.y.some((value) => value > 0));
  return chart("live-plot", traces, {
    height: 320, hovermode: "x", xaxis: { title: { text: "time [ms]" } }, yaxis: { title: { text: `in use [${unit}]` }, rangemode: "tozero" },
    shapes: [{ type: "line", x0: live.peak_ms, x1: live.peak_ms, yref: "paper", y0: 0, y1: 1, line: { dash: "dot", width: 1 } }],
  });
}

function drawBoxes(run, live, boxes, factor, unit) {
  const traces = live.kinds.map((kind, place) => {
    const own = boxes.boxes.filter((box) => box[0] === place);
    return {
      type: "bar", name: kind, base: own.map((box) => box[4] / factor), y: own.map((box) => box[5] / factor),
      x: own.map((box) => (box[2] + box[3]) / 2), width: own.map((box) => Math.max(box[3] - box[2], 1e-9)),
      marker: { color: live.colours[place], line: { color: "#ffffff", width: own.length > 800 ? 0 : 0.5 } },
      customdata: own.map((box) => [plain(box[1]), box[4], box[5], box[2], box[3]]),
      hovertemplate: "%{customdata[0]}<br>%{customdata[2]:,} B at %{customdata[1]:,}<br>%{customdata[3]:.4f} to %{customdata[4]:.4f} ms<extra></extra>",
    };
  }).filter((trace) => trace.x.length);
  return chart("boxes-plot", traces, {
    height: 380, barmode: "overlay", xaxis: { title: { text: "time [ms]" }, range: [0, run.time.latency_ms] },
    yaxis: { title: { text: `address [${unit}]` }, rangemode: "tozero" },
  });
}
