// Attention without weights copies its tokens: drag β and watch the copy sharpen.

import { make, percent } from "../elements.js";
import { fromLog10, powerOfTen, short } from "../numbers.js";
import { createPlot } from "../plot.js";
import { createRequestQueue } from "./request-queue.js";
import { createSlider } from "./slider.js";

const AXES = ["a", "b", "c", "d"];
const FIRST = 1.5;
const SMALLEST = 0.05;
const LARGEST = 5;
const LN10 = Math.log(10);

export function createStudy(container, { api, signal, tell }) {
  const law = make("p", { class: "law" });
  const verdict = make("p", { class: "small muted" });
  const weights = weightTable();
  const outputs = outputBars();
  const plot = createPlot({
    label: "Distance to the copy against e to the minus beta squared, both by powers of ten: the points fall along the law",
    height: 360,
    dragged: (x) => slider.set(Math.min(Math.max(Math.sqrt(Math.max(-x * LN10, 0)), SMALLEST), LARGEST)),
  });
  const ask = createRequestQueue(
    (beta, until) => api.get(`/v1/studies/copying?beta=${beta}`, { signal: until }),
    show,
    { signal, tell },
  );
  const slider = createSlider({
    label: "β, the length of a, b, c and d",
    min: SMALLEST,
    max: LARGEST,
    step: 0.01,
    value: FIRST,
    say: (beta) => beta.toFixed(2),
    moved: ask,
  });
  const notes = make("ul", { class: "notes" });

  container.append(
    make(
      "div",
      { class: "study-grid" },
      make(
        "section",
        { class: "panel stack", "aria-label": "Tokens" },
        make("p", {}, "Three tokens from four orthogonal vectors: x1 = d + b, x2 = a, x3 = c + b. Attention softmax(X Xᵀ) X has no weights to learn. The longer the vectors, the more a token looks at itself alone."),
        slider.element,
        law,
        make("h2", {}, "Who looks at whom"),
        weights.element,
        make("h2", {}, "What comes out"),
        make("p", { class: "small muted" }, "Each output along a, b, c and d, in units of β; the outline is the token itself."),
        outputs.element,
      ),
      make(
        "section",
        { class: "panel stack", "aria-label": "Error" },
        make("h2", {}, "How far from the copy"),
        plot.element,
        verdict,
        make("details", {}, make("summary", {}, "Why, and how it is measured"), notes),
      ),
    ),
  );
  ask(FIRST);
  return () => plot.stop();

  function show(answer) {
    law.replaceChildren(
      make("span", { class: "formula" }, "e", make("sup", {}, "−β²"), " = "),
      make("strong", {}, fromLog10(answer.log10_law)),
    );
    weights.show(answer.tokens);
    outputs.show(answer.tokens);
    verdict.textContent = answer.verdict;
    if (!notes.childElementCount) notes.append(...answer.notes.map((note) => make("li", {}, note)));
    const { curve, tokens } = answer;
    const lowest = curve.log10_law.at(-1);
    const line = (values) => curve.log10_law.map((x, place) => [x, values[place]]);
    const ticks = [0, -2, -4, -6, -8, -10];
    plot.show({
      x: { label: "e^(−β²)", domain: [0, lowest], ticks, format: powerOfTen, second: (log10) => `β ${Math.sqrt(-log10 * LN10).toFixed(1)}` },
      y: { label: "error", domain: [lowest - 0.4, 0.6], ticks, format: powerOfTen },
      series: [
        { name: "‖y − x‖ / ‖x‖ of x2", tone: "two", points: line(curve.log10_errors[1]) },
        { name: "of x1 and x3", tone: "one", points: line(curve.log10_errors[0]) },
        { name: "e^(−β²)", tone: "faint", dashed: true, points: line(curve.log10_law) },
      ],
      marks: [
        { x: answer.log10_law, y: tokens[1].log10_error, tone: "two", text: `x2: ${fromLog10(tokens[1].log10_error)}`, above: true },
        { x: answer.log10_law, y: tokens[0].log10_error, tone: "one" },
      ],
    });
  }
}

function weightTable() {
  const cells = [0, 1, 2].map(() => [0, 1, 2].map(() => make("td", { class: "weight" })));
  const errors = [0, 1, 2].map(() => make("td", { class: "right" }));
  const names = [0, 1, 2].map(() => make("th", { scope: "row" }));
  const element = make(
    "div",
    { class: "scroller", tabindex: 0, role: "region", "aria-label": "Weights" },
    make(
      "table",
      { class: "weights" },
      make("caption", { class: "unseen" }, "Attention weights of each token on each token, and the distance of its output from itself"),
      make("thead", {}, make("tr", {}, make("td"), ...["on x1", "on x2", "on x3", "off by"].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...cells.map((row, place) => make("tr", {}, names[place], ...row, errors[place]))),
    ),
  );
  return {
    element,
    show: (tokens) => {
      for (const [row, token] of tokens.entries()) {
        names[row].textContent = token.name;
        for (const [column, weight] of token.weights.entries()) {
          const cell = cells[row][column];
          cell.textContent = weight >= 0.001 ? weight.toFixed(3) : short(weight);
          cell.style.setProperty("--strength", String(weight));
        }
        errors[row].textContent = token.error >= 0.001 ? percent(token.error, 1) : fromLog10(token.log10_error);
      }
    },
  };
}

function outputBars() {
  const rows = [0, 1, 2].map(() => AXES.map(() => ({ fill: make("span", { class: "part-fill" }), ghost: make("span", { class: "part-ghost" }), value: make("span", { class: "part-value small muted" }) })));
  const element = make(
    "div",
    { class: "outputs" },
    ...rows.map((parts, token) =>
      make(
        "div",
        { class: "output", role: "group", "aria-label": `Output y${token + 1}` },
        make("h3", {}, `y${token + 1}`),
        ...parts.map(({ fill, ghost, value }, axis) =>
          make("div", { class: "part" }, make("span", { class: "part-name" }, AXES[axis]), make("span", { class: "part-track", "aria-hidden": "true" }, fill, ghost), value),
        ),
      ),
    ),
  );
  return {
    element,
    show: (tokens) => {
      for (const [row, token] of tokens.entries()) {
        for (const [axis, { fill, ghost, value }] of rows[row].entries()) {
          fill.style.transform = `scaleX(${Math.min(token.output[axis], 1)})`;
          ghost.style.opacity = token.input[axis] ? "1" : "0";
          value.textContent = token.output[axis] < 0.0005 ? "0" : token.output[axis].toFixed(3);
        }
      }
    },
  };
}
