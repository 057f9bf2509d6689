"use strict";
/* From the data to the page: sections, the links to them, and which of several runs is shown. */

async function start() {
  const data = JSON.parse(await unpacked("data"));
  const library = make("script");
  library.textContent = await unpacked("plotly");
  document.head.append(library);
  if (data.kind === "sweep") {
    const sweep = new SweepPage(data);
    show(sweep.sections());
    sweep.start();
  } else if (data.kind === "comparison") {
    show([comparisonSection(data.comparison, 0)]);
  } else if (data.runs.length === 1) {
    show(runSections(data.runs[0]));
  } else {
    showSeveral(data);
  }
  await drawAll();
  document.body.dataset.ready = "yes";
}

function show(sections) {
  const main = document.getElementById("content");
  main.replaceChildren(...sections.filter(Boolean));
  linkSections(main);
}

function linkSections(main) {
  const links = [...main.querySelectorAll("section[id]")].map((each) =>
    make("li", {}, make("a", { href: `#${each.id}` }, each.querySelector("h2").textContent)));
  document.getElementById("links").replaceChildren(...links);
}

/* Sections on all runs, then those on the one that is chosen. */
function showSeveral(data) {
  const select = make("select", { id: "which" }, ...data.runs.map((run, i) => make("option", { value: i }, run.name)));
  const one = make("div", { id: "one" });
  const chosen = section("one-run", "One run in full", make("label", { for: "which" }, "Run "), select);
  const fill = () => one.replaceChildren(...runSections(data.runs[Number(select.value)]));
  select.addEventListener("change", async () => {
    fill();
    linkSections(document.getElementById("content"));
    await drawAll();
  });
  show([...severalSections(data.runs, data.comparisons), chosen, one]);
  fill();
  linkSections(document.getElementById("content"));
}

/* Draw what waits, one after the other, so that the page can be read meanwhile. */
async function drawAll() {
  while (later.length) {
    await later.shift()();
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/* On paper plots are as wide as the page, not as the window. */
const PAPER = 900;
const widths = (change) => document.querySelectorAll(".plot.js-plotly-plot").forEach((plot) => Plotly.relayout(plot, change));
window.addEventListener("beforeprint", () => widths({ width: PAPER }));
window.addEventListener("afterprint", () => widths({ width: null, autosize: true }));

start().catch((error) => {
  document.getElementById("content").replaceChildren(
    make("p", { class: "warning" }, `This page could not be drawn: ${error.message}. A browser of 2023 or later is needed.`));
  throw error;
});
