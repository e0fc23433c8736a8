// Accuracy against the length of the texts.

import { make, percent } from "../elements.js";
import { grouped } from "../numbers.js";
import { createPlot } from "../plot.js";

export function createLengths({ record }, plots) {
  const { bins } = record.test.by_length;
  const middle = ({ shortest, longest }) => Math.sqrt(shortest * longest);
  const binAt = (x) => bins.find(({ longest }) => x <= longest) ?? bins.at(-1);
  const plot = createPlot({
    label: "Accuracy by length of text",
    height: 230,
    read: (x) => {
      const { shortest, longest, count, accuracy } = binAt(x);
      return `${grouped(shortest)} to ${grouped(longest)} tokens: ${percent(accuracy, 1)} of ${grouped(count)} right`;
    },
  });
  plots.push(plot);
  const lows = bins.map((bin) => bin.accuracy_interval_95[0]);
  const highs = bins.map((bin) => bin.accuracy_interval_95[1]);
  const floor = Math.max(0, Math.min(...lows) - 0.01);
  const all = [bins[0].shortest, bins.at(-1).longest];
  const ticks = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000].filter((tick) => tick >= all[0] && tick <= all[1]);
  plot.show({
    x: { label: "tokens", domain: [Math.max(1, all[0]), all[1]], log: true, ticks, format: grouped },
    y: {
      label: "right",
      domain: [floor, Math.min(1, Math.max(...highs) + 0.01)],
      format: (value) => `${Number((100 * value).toPrecision(3))} %`,
    },
    series: [
      { name: "accuracy", tone: "one", points: bins.map((bin) => [middle(bin), bin.accuracy]) },
      { name: "95 % interval", tone: "faint", dashed: true, points: bins.map((bin, place) => [middle(bin), lows[place]]) },
      { name: "", tone: "faint", dashed: true, points: bins.map((bin, place) => [middle(bin), highs[place]]) },
    ],
  });
  return make(
    "section",
    { class: "panel", "aria-labelledby": "lengths-title" },
    make("h2", { id: "lengths-title" }, "By length"),
    make("p", { class: "muted small" }, "Test texts in ten parts of about equal size."),
    plot.element,
  );
}
