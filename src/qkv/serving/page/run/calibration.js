// A reliability diagram: of the answers given with some probability, how many were right.

import { make, percent } from "../elements.js";
import { grouped, short } from "../numbers.js";
import { createPlot } from "../plot.js";

const TICKS = [0, 0.2, 0.4, 0.6, 0.8, 1];
const asPercent = (value) => `${Math.round(100 * value)} %`;

export function createCalibration({ calibration, record }, plots) {
  const bins = calibration.bins.filter(({ count }) => count > 0);
  const binAt = (x) => bins.find(({ lower, upper }) => x > lower && x <= upper);
  const plot = createPlot({
    label: "Accuracy by probability; the numbers are in the table below",
    read: (x) => {
      const bin = binAt(x);
      return bin ? `${percent(bin.confidence, 1)} sure on average, ${percent(bin.accuracy, 1)} right, of ${grouped(bin.count)}` : null;
    },
  });
  plots.push(plot);
  plot.show({
    x: { label: "probability of the answer", domain: [0, 1], ticks: TICKS, format: asPercent },
    y: { label: "right", domain: [0, 1], ticks: TICKS, format: asPercent },
    series: [
      { name: "share of right answers", tone: "one", kind: "bars", points: bins.map(({ lower, upper, accuracy }) => [lower, upper, accuracy]) },
      { name: "", tone: "two", kind: "dots", points: bins.map(({ confidence, accuracy }) => [confidence, accuracy]) },
      { name: "as sure as right", tone: "faint", dashed: true, points: [[0, 0], [1, 1]] },
    ],
  });
  const share = `${percent(calibration.expected_calibration_error, 1)} apart on average (ECE, ${calibration.bins.length} bins); Brier score ${short(calibration.brier)}`;
  const temperature = record.temperature;
  const cooled = temperature != null && temperature !== 1 ? `; logits divided by a temperature of ${short(temperature)}` : "";
  return make(
    "section",
    { class: "panel", "aria-labelledby": "calibration-title" },
    make("h2", { id: "calibration-title" }, "Calibration"),
    make("p", { class: "muted small" }, `Probability and accuracy are ${share}${cooled}.`),
    plot.element,
    make(
      "details",
      {},
      make("summary", {}, "The numbers"),
      make(
        "div",
        { class: "scroller", tabindex: 0, role: "region", "aria-label": "Bins" },
        make(
          "table",
          { class: "facts-table" },
          make("thead", {}, make("tr", {}, ...["probability", "answers", "mean probability", "right"].map((name) => make("th", { scope: "col" }, name)))),
          make(
            "tbody",
            {},
            ...bins.map(({ lower, upper, count, confidence, accuracy }) =>
              make(
                "tr",
                {},
                make("th", { scope: "row" }, `${asPercent(lower)} to ${asPercent(upper)}`),
                make("td", { class: "right" }, grouped(count)),
                make("td", { class: "right" }, percent(confidence, 1)),
                make("td", { class: "right" }, percent(accuracy, 1)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
