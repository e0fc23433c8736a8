// The same, measured: the server times both kinds, one length after the other.

import { make } from "../elements.js";
import { grouped, short } from "../numbers.js";
import { createPlot } from "../plot.js";

const LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096];
const TONES = { plain: "two", fused: "three", linear: "one" };

/** @param {() => number} width of a head, asked when a measurement begins. */
export function createMeasured({ api, signal, tell }, width) {
  const found = [];
  let running = null;
  const plot = createPlot({ label: "Measured milliseconds by length, both axes logarithmic; the numbers are in the table below", height: 300 });
  const said = make("p", { class: "small muted", "aria-live": "polite" });
  const start = make("button", { type: "button", onclick: () => (running ? running.abort() : measure()) }, "Measure on this server");
  const body = make("tbody");
  const table = make(
    "div",
    { class: "scroller", tabindex: 0, role: "region", "aria-label": "Milliseconds", hidden: true },
    make(
      "table",
      { class: "facts-table" },
      make("thead", {}, make("tr", {}, ...["tokens", "plain softmax, ms", "fused softmax, ms", "linear, ms"].map((name) => make("th", { scope: "col" }, name)))),
      body,
    ),
  );
  plot.element.hidden = true;

  async function measure() {
    reset();
    running = new AbortController();
    const until = AbortSignal.any([signal, running.signal]);
    const headDim = width();
    start.textContent = "Stop";
    try {
      for (const tokens of LENGTHS) {
        said.textContent = `Timing ${grouped(tokens)} tokens…`;
        found.push(await api.post("/v1/studies/linear-attention/measure", { tokens, head_dim: headDim }, { signal: until }));
        show();
      }
      said.textContent = conclusion();
    } catch (error) {
      if (!until.aborted) tell(error);
      said.textContent = found.length ? conclusion() : "";
    } finally {
      running = null;
      start.textContent = found.length ? "Measure again" : "Measure on this server";
    }
  }

  function show() {
    const times = found.flatMap(({ kernels }) => kernels.map(({ milliseconds }) => milliseconds));
    const domain = [Math.min(...times) / 1.6, Math.max(...times) * 1.6];
    plot.element.hidden = false;
    table.hidden = false;
    plot.show({
      x: { label: "T, tokens", domain: [LENGTHS[0] / 1.2, LENGTHS.at(-1) * 1.2], log: true, ticks: LENGTHS.filter((_, place) => place % 2 === 0), format: grouped },
      y: { label: "ms", domain, log: true, ticks: milliseconds(domain), format: (value) => `${short(value)} ms` },
      series: found[0].kernels.map(({ kernel, label }) => ({
        name: label,
        tone: TONES[kernel],
        points: found.map(({ tokens, kernels }) => [tokens, kernels.find((one) => one.kernel === kernel).milliseconds]),
      })),
    });
    body.replaceChildren(
      ...found.map(({ tokens, kernels }) =>
        make("tr", {}, make("th", { scope: "row" }, grouped(tokens)), ...kernels.map(({ milliseconds: time }) => make("td", { class: "right" }, short(time)))),
      ),
    );
  }

  /** The least length from which on linear attention was never slower. */
  function conclusion() {
    let first = null;
    for (const { tokens, kernels } of found.toReversed()) {
      const time = Object.fromEntries(kernels.map(({ kernel, milliseconds: one }) => [kernel, one]));
      if (time.linear > time.fused) break;
      first = tokens;
    }
    const { head_dim: dim, threads } = found[0];
    const where = `One head of width ${dim}, forward, float32, ${threads} thread${threads === 1 ? "" : "s"}; medians of ${found[0].rounds} rounds in turn.`;
    if (first === null) return `Fused softmax was faster at ${grouped(found.at(-1).tokens)} tokens, the most measured. ${where}`;
    return `Linear attention was faster than fused softmax from ${grouped(first)} tokens on. ${where}`;
  }

  function reset() {
    running?.abort();
    found.length = 0;
    plot.element.hidden = true;
    table.hidden = true;
    said.textContent = "";
  }

  const element = make(
    "section",
    { class: "panel stack wide", "aria-labelledby": "measured-title" },
    make("h2", { id: "measured-title" }, "Measured"),
    make("p", { class: "muted small" }, "Operations are not time: a kernel may wait for memory, and short calls cost what any call costs. This takes some seconds of the server's processor."),
    make("div", { class: "row" }, start, said),
    plot.element,
    table,
  );
  return {
    element,
    reset,
    stop: () => {
      running?.abort();
      plot.stop();
    },
  };
}

function milliseconds([low, high]) {
  return [0.01, 0.1, 1, 10, 100, 1000].filter((tick) => tick >= low && tick <= high);
}
