// What softmax and linear attention cost: drag T, and measure it on the server.

import { choiceRow, make } from "../elements.js";
import { bytes, grouped, inWords, powerOfTen } from "../numbers.js";
import { createPlot } from "../plot.js";
import { createRequestQueue } from "./request-queue.js";
import { createMeasured } from "./measured.js";
import { createSlider } from "./slider.js";

const LEAST = 16;
const MOST = 65536;
const STEPS_A_DOUBLING = 8;
const LENGTHS = [16, 64, 256, 1024, 4096, 16384, 65536];
const WIDTHS = ["16", "32", "64", "128"];
const KINDS = {
  operations: { label: "Operations", words: inWords },
  bytes: { label: "Memory", words: bytes },
};
const SERIES = [
  { kernel: "plain", name: "plain softmax", tone: "two" },
  { kernel: "fused", name: "fused softmax", tone: "three", dashed: true },
  { kernel: "linear", name: "linear", tone: "one" },
];

export function createStudy(container, context) {
  const { api, signal, tell } = context;
  let kind = "operations";
  let width = 64;
  let tokens = 4096;
  let answer = null;
  const verdict = make("p", { "aria-live": "polite" });
  const costs = make("div", { class: "costs" });
  const turning = make("p");
  const plot = createPlot({
    label: "Cost by length of both kinds of attention, both axes logarithmic; the costs at the chosen length stand beside",
    height: 340,
    dragged: (x) => slider.set(toStep(x)),
  });
  const measured = createMeasured(context, () => width);
  const ask = createRequestQueue(
    ({ tokens: length, width: dim }, until) =>
      api.get(`/v1/studies/linear-attention?tokens=${length}&head_dim=${dim}`, { signal: until }),
    (found) => {
      answer = found;
      show();
    },
    { signal, tell },
  );
  const slider = createSlider({
    label: "T, the length of the sequence",
    min: 0,
    max: STEPS_A_DOUBLING * Math.log2(MOST / LEAST),
    step: 1,
    value: toStep(tokens),
    say: (step) => `${grouped(fromStep(step))} tokens`,
    moved: (step) => {
      tokens = fromStep(step);
      ask({ tokens, width });
    },
  });

  container.append(
    make(
      "div",
      { class: "study-grid" },
      make(
        "section",
        { class: "panel stack", "aria-label": "Length" },
        make("p", {}, "Softmax attention compares every token with every other: T² scores. Linear attention sums φ(k) vᵀ once and lets every query read the sum: T times a matrix whose size T does not change."),
        slider.element,
        choiceRow(
          "Width of a head",
          WIDTHS.map((value) => ({ value, label: value })),
          String(width),
          (value) => {
            width = Number(value);
            ask({ tokens, width });
            measured.reset();
          },
        ),
        make("h2", {}, "One head at this length"),
        costs,
        verdict,
      ),
      make(
        "section",
        { class: "panel stack", "aria-label": "Growth" },
        make("div", { class: "row apart" }, make("h2", {}, "As it grows"), choiceRow(
          "Cost",
          Object.entries(KINDS).map(([value, { label }]) => ({ value, label })),
          kind,
          (value) => {
            kind = value;
            show();
          },
        )),
        plot.element,
        turning,
        make("p", { class: "small muted" }, "Counted, not timed: forward, float32, φ = elu + 1. Fused softmax does the same sums block by block, so its T² scores never lie in memory."),
      ),
      measured.element,
    ),
  );
  ask({ tokens, width });
  return () => {
    plot.stop();
    measured.stop();
  };

  function show() {
    if (!answer) return;
    const { label } = KINDS[kind];
    const { curve, crossing } = answer;
    const here = Object.fromEntries(answer.costs.map((cost) => [cost.kernel, cost]));
    // Two kernels of the same operations would lie on each other.
    const shown = SERIES.filter(({ kernel }) => kind === "bytes" || kernel !== "fused");
    const values = shown.flatMap(({ kernel }) => curve[kind][kernel]);
    const domain = [Math.min(...values) / 2, Math.max(...values) * 2];
    const at = crossing[kind];
    plot.show({
      x: { label: "T, tokens", domain: [LEAST, MOST], log: true, ticks: LENGTHS, format: grouped },
      y: { label, domain, log: true, ticks: decades(domain, kind), format: kind === "bytes" ? bytes : (value) => powerOfTen(Math.round(Math.log10(value))) },
      series: shown.map(({ kernel, name, tone, dashed }) => ({
        name: kind === "operations" && kernel === "plain" ? "softmax" : name,
        tone,
        dashed,
        points: curve.tokens.map((length, place) => [length, curve[kind][kernel][place]]),
      })),
      marks: [
        { x: answer.tokens, tone: "ink" },
        ...shown.map(({ kernel, tone }) => ({ x: answer.tokens, y: here[kernel][kind], tone })),
        ...(at < LEAST ? [] : [{ x: at, y: interpolated(curve, kind, at), tone: "ink", text: `from ${grouped(at)}` }]),
      ],
    });
    costs.replaceChildren(...costRows(answer.costs));
    verdict.textContent = answer.verdict;
    turning.textContent = `In ${label.toLowerCase()} linear attention costs less than plain softmax from ${grouped(at)} tokens on${kind === "operations" ? ", about the width of a head" : ""}.`;
  }

  function costRows(found) {
    const most = { operations: Math.max(...found.map((cost) => cost.operations)), bytes: Math.max(...found.map((cost) => cost.bytes)) };
    return Object.entries(KINDS).map(([name, { label, words }]) =>
      make(
        "div",
        { class: "cost", role: "group", "aria-label": label },
        make("h3", {}, label),
        ...found.filter(({ kernel }) => name === "bytes" || kernel !== "fused").map((cost) => {
          const fill = make("span", { class: `cost-fill tone-${SERIES.find(({ kernel }) => kernel === cost.kernel).tone}` });
          fill.style.transform = `scaleX(${cost[name] / most[name]})`;
          const called = name === "operations" && cost.kernel === "plain" ? "softmax" : cost.label;
          return make("div", { class: "cost-row" }, make("span", { class: "cost-name" }, called), make("span", { class: "cost-track", "aria-hidden": "true" }, fill), make("span", { class: "cost-value" }, words(cost[name])));
        }),
      ),
    );
  }
}

function fromStep(step) {
  return Math.round(LEAST * 2 ** (step / STEPS_A_DOUBLING));
}

function toStep(tokens) {
  const limited = Math.min(Math.max(tokens, LEAST), MOST);
  return Math.round(STEPS_A_DOUBLING * Math.log2(limited / LEAST));
}

function decades([low, high], kind) {
  const base = kind === "bytes" ? 1024 : 100;
  const ticks = [];
  for (let power = Math.ceil(Math.log(low) / Math.log(base)); base ** power <= high; power += 1) ticks.push(base ** power);
  return ticks;
}

/** The cost at a length between two of the curve, along the straight line of the logarithms. */
function interpolated({ tokens, ...costs }, kind, at) {
  const values = costs[kind].plain;
  const after = Math.max(tokens.findIndex((length) => length >= at), 1);
  const share = Math.log(at / tokens[after - 1]) / Math.log(tokens[after] / tokens[after - 1]);
  return values[after - 1] * (values[after] / values[after - 1]) ** share;
}
