// The recurrence h_t = x_t − h_(t−1): edit the integers and follow it step by step.

import { freshId, make } from "../elements.js";
import { createPlot } from "../plot.js";
import { createRequestQueue } from "./request-queue.js";

const FIRST = "3, 1, 4, 1, 5, 9";
const MOST = 200;
const MOST_DIGITS = 100;
const STEP_MS = 900;
const EXAMPLES = [
  ["3, 1, 4, 1, 5, 9", "the odd ones win"],
  ["1, 2, 3, 4", "the even ones win"],
  ["7, 4, −2, 1", "a tie"],
];

export function createStudy(container, { api, signal, tell }) {
  const field = freshId("sequence");
  const input = make("input", { id: field, type: "text", inputmode: "text", autocomplete: "off", spellcheck: "false", value: FIRST, "aria-describedby": `${field}-said`, oninput: edited });
  const problem = make("p", { id: `${field}-said`, class: "small field-said", "aria-live": "polite" });
  const verdict = make("p", { class: "verdict-line", "aria-live": "polite" });
  const body = make("tbody");
  const sum = make("p", { class: "expansion" });
  const plot = createPlot({ label: "The state after each step; the numbers are in the table beside", height: 260, dragged: (x) => choose(Math.round(x)) });
  let steps = [];
  let here = 1;
  let playing = 0;
  const play = make("button", { type: "button", class: "plain", onclick: () => (playing ? pause() : start()) }, "Play");
  const back = make("button", { type: "button", class: "plain", "aria-label": "One step back", onclick: () => choose(here - 1) }, "‹");
  const on = make("button", { type: "button", class: "plain", "aria-label": "One step on", onclick: () => choose(here + 1) }, "›");
  const ask = createRequestQueue(
    // Written by hand: JSON.stringify would round integers of more than 15 digits.
    (values, until) => api.post("/v1/studies/recurrence", new Blob([`{"inputs":[${values.join(",")}]}`], { type: "application/json" }), { signal: until }),
    show,
    { signal, tell, pauseMs: 120 },
  );
  signal.addEventListener("abort", pause);

  container.append(
    make(
      "div",
      { class: "study-grid" },
      make(
        "section",
        { class: "panel stack", "aria-label": "Sequence" },
        make("p", {}, "One number of memory: ", ...formula(["h", "t"], " = ", ["x", "t"], " − ", ["h", "t−1"], ", from ", ["h", "0"], " = 0."), " A sigmoid after it, ", ...formula(["y", "t"], " = sigmoid(1000 · ", ["h", "t"], "),"), " is 1, ½ or 0. After an even number of steps it says whether the even positions have the larger sum."),
        make("div", { class: "field" }, make("label", { for: field }, "Integers, with commas or spaces between"), input, problem),
        make("div", { class: "row" }, ...EXAMPLES.map(([text, name]) => make("button", { type: "button", class: "plain small", onclick: () => { input.value = text; edited(); } }, name))),
        verdict,
        plot.element,
      ),
      make(
        "section",
        { class: "panel stack", "aria-label": "Steps" },
        make("div", { class: "row apart" }, make("h2", {}, "Step by step"), make("div", { class: "row" }, back, play, on)),
        make("div", { class: "scroller steps", tabindex: 0, role: "region", "aria-label": "Steps" }, make(
          "table",
          { class: "facts-table step-table" },
          make("thead", {}, make("tr", {}, ...["t", "x_t", "h_(t−1)", "h_t", "y_t", "closed form"].map((name) => make("th", { scope: "col" }, subscripted(name))))),
          body,
        )),
        sum,
      ),
    ),
  );
  edited();
  return () => {
    pause();
    plot.stop();
  };

  function edited() {
    pause();
    const [values, wrong] = parse(input.value);
    problem.textContent = wrong ?? "";
    input.setAttribute("aria-invalid", String(Boolean(wrong)));
    if (!wrong) ask(values);
  }

  function show(answer) {
    steps = answer.steps;
    verdict.textContent = answer.verdict;
    body.replaceChildren(...steps.map((step) => make(
      "tr",
      { dataset: { t: step.t }, onclick: () => choose(step.t) },
      make("th", { scope: "row" }, step.t),
      ...[step.x, step.before, step.h].map((value) => make("td", { class: "right" }, minus(value))),
      make("td", { class: "right" }, step.y === 0.5 ? "½" : String(step.y)),
      make("td", { class: "right" }, minus(step.closed_form), make("span", { class: "agrees", "aria-label": step.closed_form === step.h ? "equal" : "not equal" }, step.closed_form === step.h ? " ✓" : " ✗")),
    )));
    choose(steps.length);
  }

  function choose(t) {
    if (!steps.length) return;
    here = Math.min(Math.max(t, 1), steps.length);
    for (const row of body.children) {
      const current = Number(row.dataset.t) === here;
      row.classList.toggle("here", current);
      if (current) row.setAttribute("aria-current", "step");
      else row.removeAttribute("aria-current");
    }
    body.querySelector(".here")?.scrollIntoView({ block: "nearest", behavior: "instant" });
    back.disabled = here === 1;
    on.disabled = here === steps.length;
    sum.replaceChildren(...expansion(here));
    drawStates();
  }

  function drawStates() {
    const states = steps.map(({ h }) => Number(h));
    const low = Math.min(0, ...states);
    const high = Math.max(0, ...states);
    const air = 0.14 * (high - low || 1);
    const bar = ([t, h]) => [t - 0.4, t + 0.4, h];
    const all = states.map((h, place) => [place + 1, h]);
    const each = Math.max(1, Math.ceil(steps.length / 12));
    plot.show({
      x: { label: "t", domain: [0.4, steps.length + 0.6], ticks: all.map(([t]) => t).filter((t) => (t - 1) % each === 0) },
      y: { label: "h", domain: [low - air, high + air], format: (value) => compact(value) },
      series: [
        { name: "h so far", tone: "one", kind: "bars", points: all.filter(([t]) => t < here).map(bar) },
        { name: "", tone: "one", kind: "bars", strong: true, points: all.filter(([t]) => t === here).map(bar) },
        { name: "still to come", tone: "faint", kind: "bars", points: all.filter(([t]) => t > here).map(bar) },
      ],
      marks: [{ x: here, y: states[here - 1], tone: "one", text: `h = ${minus(short(steps[here - 1].h))}`, above: states[here - 1] >= 0, centred: true }],
    });
  }

  function expansion(t) {
    const terms = steps.slice(0, t).toReversed();
    const shown = terms.slice(0, 12);
    const parts = shown.flatMap(({ x }, place) => {
      const negative = x.startsWith("-");
      const size = short(negative ? x.slice(1) : x);
      const subtract = (place % 2 === 1) !== negative;
      if (place === 0) return [make("span", { class: "plus" }, `${negative ? "−" : ""}${size}`)];
      return [subtract ? " − " : " + ", make("span", { class: place % 2 ? "less" : "plus" }, size)];
    });
    return [`h`, make("sub", {}, t), " = ", ...parts, terms.length > shown.length ? " … " : "", " = ", make("strong", {}, minus(short(steps[t - 1].h)))];
  }

  function start() {
    if (here === steps.length) choose(1);
    play.textContent = "Pause";
    playing = setInterval(() => {
      choose(here + 1);
      if (here === steps.length) pause();
    }, STEP_MS);
  }

  function pause() {
    clearInterval(playing);
    playing = 0;
    play.textContent = "Play";
  }
}

/** @returns {[string[], string | null]} the integers as JSON writes them, or what is wrong. */
function parse(text) {
  const parts = text.replaceAll("−", "-").trim().split(/[\s,]+/).filter(Boolean);
  if (!parts.length) return [[], "Give at least one integer."];
  if (parts.length > MOST) return [[], `These are ${parts.length} integers; give at most ${MOST}.`];
  const bad = parts.find((part) => !/^[+-]?\d+$/.test(part));
  if (bad) return [[], `“${bad.length > 30 ? `${bad.slice(0, 30)}…` : bad}” is not an integer.`];
  const values = parts.map((part) => String(BigInt(part.replace(/^\+/, ""))));
  const long = values.find((value) => value.replace("-", "").length > MOST_DIGITS);
  return long ? [[], `An integer has more than ${MOST_DIGITS} digits.`] : [values, null];
}

function minus(text) {
  return text.replace("-", "−");
}

/** The ends of an integer of many digits. */
function short(text) {
  return text.length > 18 ? `${text.slice(0, 8)}…${text.slice(-6)}` : text;
}

function compact(value) {
  const size = Math.abs(value);
  const text = size >= 1e6 ? value.toExponential(0) : Number(value.toPrecision(6)).toLocaleString("en");
  return minus(text);
}

/** Plain text, and [letter, index] pairs. */
function formula(...parts) {
  return parts.map((part) => (typeof part === "string" ? part : make("span", {}, part[0], make("sub", {}, part[1]))));
}

function subscripted(name) {
  const found = /^(\w)_\(?([^)]+)\)?$/.exec(name);
  return found ? make("span", {}, found[1], make("sub", {}, found[2])) : name;
}
