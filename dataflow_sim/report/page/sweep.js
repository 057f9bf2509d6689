"use strict";
/* A sweep: sliders over the points that were computed, curves, a heatmap, a Pareto front. */

/* The name of a column as words, and names as options of a choice. */
const words = (name) => name.replaceAll("_", " ");
const named = (names) => names.map((name) => [name, words(name)]);

class SweepPage {
  constructor(data) {
    this.data = data;
    this.axes = data.axes;
    this.chosen = this.axes.map(() => 0);
    this.place = new Map(data.keys.map((key, row) => [key.join(","), row]));
    this.figures = data.figures;
    this.moving = this.axes.map((_, i) => i).filter((i) => this.axes[i].values.length > 1);
    const numeric = this.moving.filter((i) => this.axes[i].numeric);
    this.across = numeric.length ? numeric[numeric.length - 1] : this.moving[0] ?? 0;
    this.by = this.moving.find((i) => i !== this.across) ?? this.across;
    this.value = data.figures[0];
    this.fronts = [...data.figures, ...numeric.map((i) => this.axes[i].name)];
    this.frontX = this.value;
    this.frontY = numeric.length ? this.axes[this.across].name : data.figures[1] ?? this.value;
    // the first point is one that was computed, not only the first value of each axis
    if (data.keys.length) this.chosen = [...data.keys[0]];
  }

  row(chosen = this.chosen) {
    return this.place.get(chosen.join(","));
  }

  /* A figure of a point, or its value on an axis. */
  read(row, name) {
    if (row === undefined) return null;
    if (name in this.data.columns) return this.data.columns[name][row];
    const i = this.axes.findIndex((axis) => axis.name === name);
    return this.axes[i].values[this.data.keys[row][i]];
  }

  sections() {
    if (!this.figures.length) return [this.pointsSection()];
    return [this.slidersSection(), this.curvesSection(), this.heatmapSection(), this.paretoSection(), this.pointsSection()];
  }

  select(id, label, options, chosen, act) {
    const element = make("select", { id, onchange: () => { act(element.value); this.redraw(); } },
      ...options.map(([value, text]) => make("option", { value, selected: String(value) === String(chosen) }, text)));
    return make("span", { class: "choice" }, make("label", { for: id }, `${label} `), element);
  }

  axisOptions() {
    return this.moving.map((i) => [i, words(this.axes[i].name)]);
  }

  slidersSection() {
    this.outputs = [];
    const sliders = this.moving.map((i) => {
      const { name, texts } = this.axes[i];
      const output = make("output", { for: `slider-${i}`, id: `slider-${i}-value` });
      this.outputs[i] = output;
      const slider = make("input", {
        type: "range", id: `slider-${i}`, min: 0, max: texts.length - 1, step: 1, value: this.chosen[i],
        oninput: () => { this.chosen[i] = Number(slider.value); this.redraw(); },
      });
      this.sliders = { ...this.sliders, [i]: slider };
      return make("div", { class: "slider" }, make("label", { for: `slider-${i}` }, words(name)), slider, output);
    });
    const fixed = this.axes.filter((_, i) => !this.moving.includes(i)).map((axis) => `${words(axis.name)} ${axis.texts[0]}`);
    this.told = make("div", { id: "point", role: "status" });
    return section("point-section", "A point",
      make("p", {}, fixed.length ? `Everywhere: ${fixed.join("; ")}.` : "Move a slider: everything below follows."),
      make("div", { class: "sliders" }, ...sliders), this.told);
  }

  curvesSection() {
    return section("lines", "Curves", make("div", { class: "controls" },
      this.select("lines-y", "of", named(this.figures), this.value, (value) => { this.value = value; }),
      this.select("lines-x", "against", this.axisOptions(), this.across, (value) => { this.across = Number(value); }),
      this.select("lines-by", "a line for each", this.axisOptions(), this.by, (value) => { this.by = Number(value); })),
      figure("lines-plot", "All other axes stand where the sliders are; the star is the point of the sliders.", "Curves over the points that were computed."));
  }

  heatmapSection() {
    return section("heat", "Heatmap", figure("heat-plot",
      "The same two axes as rows and columns; empty where nothing was computed or it does not fit.", "A heatmap over two axes."));
  }

  paretoSection() {
    return section("front", "Pareto front", make("div", { class: "controls" },
      this.select("front-x", "least", named(this.fronts), this.frontX, (value) => { this.frontX = value; }),
      this.select("front-y", "and least", named(this.fronts), this.frontY, (value) => { this.frontY = value; })),
      figure("front-plot", "Of all points: those on the line are beaten by none in both.", "All points in two figures, with their Pareto front."));
  }

  pointsSection() {
    const columns = Object.fromEntries(this.axes.map((axis, i) => [axis.name, this.data.keys.map((key) => axis.texts[key[i]])]));
    for (const name of Object.keys(this.data.columns)) columns[name] = this.data.columns[name];
    return section("points", "Points", new DataTable("points-table", this.data.title, columns).element());
  }

  start() {
    if (this.figures.length) this.redraw();
  }

  redraw() {
    this.tell();
    this.drawLines();
    this.drawHeat();
    this.drawFront();
  }

  tell() {
    this.moving.forEach((i) => {
      this.outputs[i].textContent = this.axes[i].texts[this.chosen[i]];
      this.sliders[i].setAttribute("aria-valuetext", this.axes[i].texts[this.chosen[i]]);
    });
    const row = this.row();
    if (row === undefined) {
      this.told.replaceChildren(make("p", { class: "warning" }, "No such point was computed."));
      return;
    }
    const cards = Object.keys(this.data.columns).map((name) => [name, this.read(row, name)]).filter(([, value]) => value !== null)
      .map(([name, value]) => make("div", { class: "card" }, make("div", { class: "value", "data-column": name }, numberText(value)), make("div", { class: "what" }, words(name))));
    this.told.replaceChildren(make("div", { class: "cards" }, ...cards));
  }

  /* Rows along an axis, every other axis as given; null where there is no point. */
  along(axis, chosen) {
    return this.axes[axis].values.map((_, place) => {
      const key = [...chosen];
      key[axis] = place;
      return this.row(key);
    });
  }

  axisLayout(i) {
    const axis = this.axes[i];
    if (axis.spreads && axis.name.endsWith("_bytes"))
      return { ...memoryAxis(axis.values[0] / 1.1, axis.values[axis.values.length - 1] * 1.1), title: { text: plain(words(axis.name)) } };
    const ticks = axis.numeric && axis.values.length <= 12 ? { tickvals: axis.values, ticktext: axis.texts.map(plain) } : {};
    return { title: { text: plain(words(axis.name)) }, type: axis.numeric ? (axis.spreads ? "log" : "linear") : "category", ...ticks };
  }

  places(i) {
    return this.axes[i].numeric ? this.axes[i].values : this.axes[i].texts.map(plain);
  }

  drawLines() {
    const { across, by, value } = this;
    const lines = by === across ? [this.chosen[by]] : this.axes[by].values.map((_, place) => place);
    const traces = lines.map((place, number) => {
      const chosen = [...this.chosen];
      chosen[by] = place;
      return {
        type: "scatter", mode: "lines+markers", name: plain(by === across ? value : this.axes[by].texts[place]), x: this.places(across),
        y: this.along(across, chosen).map((row) => this.read(row, value)), line: { color: PALETTE[number % PALETTE.length], width: place === this.chosen[by] ? 3 : 1.3 },
        connectgaps: false, hovertemplate: "%{x}: %{y:.5g}<extra>%{fullData.name}</extra>",
      };
    });
    const here = this.read(this.row(), value);
    if (here !== null) traces.push({
      type: "scatter", mode: "markers", name: "the sliders' point", x: [this.places(across)[this.chosen[across]]], y: [here],
      marker: { symbol: "star", size: 15, color: "#1a1a1a" }, hovertemplate: "%{y:.6g}<extra></extra>",
    });
    return chart("lines-plot", traces, { height: 420, xaxis: this.axisLayout(across), yaxis: { title: { text: plain(words(value)) }, rangemode: "tozero" }, showlegend: true });
  }

  drawHeat() {
    const { across, by, value } = this;
    const z = this.axes[by].values.map((_, place) => {
      const chosen = [...this.chosen];
      chosen[by] = place;
      return this.along(across, chosen).map((row) => this.read(row, value));
    });
    return chart("heat-plot", [{
      type: "heatmap", x: this.axes[across].texts.map(plain), y: this.axes[by].texts.map(plain), z, colorscale: "Viridis", reversescale: true,
      colorbar: { title: { text: plain(words(value)) } }, hovertemplate: "%{x}, %{y}: %{z:.5g}<extra></extra>", hoverongaps: false,
    }], { height: 160 + 26 * this.axes[by].values.length, xaxis: { type: "category", title: { text: plain(words(this.axes[across].name)) } }, yaxis: { type: "category", title: { text: plain(words(this.axes[by].name)) } } });
  }

  drawFront() {
    const [xs, ys] = [this.frontX, this.frontY];
    const points = this.data.keys.map((key, row) => [this.read(row, xs), this.read(row, ys), row]).filter(([x, y]) => typeof x === "number" && typeof y === "number");
    const front = [];
    for (const point of [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]))
      if (!front.length || point[1] < front[front.length - 1][1]) front.push(point);
    const name = (row) => plain(this.moving.map((i) => `${words(this.axes[i].name)} ${this.axes[i].texts[this.data.keys[row][i]]}`).join(", "));
    const marks = (of, more) => ({
      type: "scatter", x: of.map((p) => p[0]), y: of.map((p) => p[1]), customdata: of.map((p) => name(p[2])),
      hovertemplate: "%{customdata}<br>%{x:.5g}, %{y:.5g}<extra></extra>", ...more,
    });
    const traces = [
      marks(points.length > 4000 ? points.filter((_, i) => i % Math.ceil(points.length / 4000) === 0) : points, { mode: "markers", name: "points", marker: { color: "#9ecae1", size: 5 } }),
      marks(front, { mode: "lines+markers", name: "none is better in both", line: { shape: "hv", color: "#d55e00", width: 1.5 }, marker: { size: 8 } }),
    ];
    const here = this.row();
    if (here !== undefined && typeof this.read(here, xs) === "number") traces.push(marks([[this.read(here, xs), this.read(here, ys), here]], { mode: "markers", name: "the sliders' point", marker: { symbol: "star", size: 15, color: "#1a1a1a" } }));
    return chart("front-plot", traces, { height: 420, xaxis: { title: { text: plain(words(xs)) } }, yaxis: { title: { text: plain(words(ys)) } } });
  }
}
