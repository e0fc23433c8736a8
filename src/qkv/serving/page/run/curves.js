// Loss and accuracy as training went on.

import { choiceRow, make, percent } from "../elements.js";
import { grouped, short } from "../numbers.js";
import { createPlot, roundTicks } from "../plot.js";

const KINDS = {
  accuracy: { label: "Accuracy", format: (value) => `${Number((100 * value).toPrecision(3))} %`, say: (value) => percent(value, 2) },
  loss: { label: "Loss", format: (value) => short(value), say: (value) => short(value) },
};

export function createCurves({ curves, record }, plots) {
  const { epochs, steps } = curves;
  const plot = createPlot({
    label: `Training and validation by step; the numbers are in the table below`,
    read: (x) => reading(nearest(epochs.step, x)),
  });
  plots.push(plot);
  let kind = "accuracy";

  function show() {
    const series = [
      { name: "training", tone: "two", points: pairs(epochs.step, epochs[`train_${kind}`]) },
      { name: "validation", tone: "one", points: pairs(epochs.step, epochs[`validation_${kind}`]) },
      { name: "training, while it went", tone: "faint", points: pairs(steps.step, steps[kind]) },
    ].filter(({ points }) => points.length);
    const values = series.flatMap(({ points }) => points.map(([, y]) => y)).filter((y) => y != null);
    const last = Math.max(...epochs.step, ...(steps.step ?? []));
    const kept = record.kept_epoch ? epochs.step[epochs.epoch.indexOf(record.kept_epoch)] : null;
    plot.show({
      x: { label: "step", domain: [0, last], format: grouped, ticks: roundTicks([0, last], 4) },
      y: { label: KINDS[kind].label, domain: padded(values, kind), format: KINDS[kind].format },
      series,
      marks: kept ? [{ x: kept, text: `kept: epoch ${record.kept_epoch}`, tone: "muted" }] : [],
    });
  }

  function reading(place) {
    const { say } = KINDS[kind];
    const parts = [["training", epochs[`train_${kind}`]], ["validation", epochs[`validation_${kind}`]]]
      .filter(([, values]) => values?.[place] != null)
      .map(([name, values]) => `${name} ${say(values[place])}`);
    return `Epoch ${epochs.epoch[place]}: ${parts.join(", ")}`;
  }

  const section = make(
    "section",
    { class: "panel", "aria-labelledby": "curves-title" },
    make("div", { class: "row apart" }, make("h2", { id: "curves-title" }, "Training"), choiceRow(
      "Quantity",
      Object.entries(KINDS).map(([value, { label }]) => ({ value, label })),
      kind,
      (value) => {
        kind = value;
        show();
      },
    )),
    plot.element,
    numbers(epochs),
  );
  show();
  return section;
}

function numbers(epochs) {
  const columns = [
    ["train_loss", "training loss", short],
    ["validation_loss", "validation loss", short],
    ["train_accuracy", "training accuracy", (value) => percent(value, 2)],
    ["validation_accuracy", "validation accuracy", (value) => percent(value, 2)],
  ].filter(([name]) => epochs[name]);
  return make(
    "details",
    {},
    make("summary", {}, "The numbers"),
    make(
      "div",
      { class: "scroller", tabindex: 0, role: "region", "aria-label": "Epochs" },
      make(
        "table",
        { class: "facts-table" },
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "epoch"), ...columns.map(([, name]) => make("th", { scope: "col" }, name)))),
        make(
          "tbody",
          {},
          ...epochs.epoch.map((epoch, row) =>
            make(
              "tr",
              {},
              make("th", { scope: "row" }, epoch),
              ...columns.map(([name, , say]) => make("td", { class: "right" }, epochs[name][row] == null ? "–" : say(epochs[name][row]))),
            ),
          ),
        ),
      ),
    ),
  );
}

function pairs(x = [], y = []) {
  return x.map((value, place) => [value, y[place]]).filter(([, value]) => value != null);
}

function nearest(values, x) {
  return values.reduce((best, value, place) => (Math.abs(value - x) < Math.abs(values[best] - x) ? place : best), 0);
}

function padded(values, kind) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const air = 0.06 * (high - low || 0.1);
  return kind === "accuracy"
    ? [Math.max(0, low - air), Math.min(1, high + air)]
    : [Math.max(0, low - air), high + air];
}
