// How far an explanation can be believed, in words and as two small charts.

import { draw, make } from "./elements.js";

const WIDTH = 150;
const HEIGHT = 84;

/**
 * @param {object} faithfulness of an explanation document.
 * @param {string} label the explained class.
 * @param {string} parts what was taken away: `patches` or `words`.
 */
export function faithfulnessOf(faithfulness, label, parts) {
  const { deletion_area: own, random_deletion_area: random, curves } = faithfulness;
  const verdict = verdictOf(faithfulness);
  const sentence = make(
    "p",
    {},
    make("strong", { class: `verdict ${verdict.kind}` }, verdict.name),
    ` Without the ${parts} it marks first, “${label}” falls to a mean of ${own.toFixed(2)}; `,
    `taking away ${parts} at random leaves ${random.toFixed(2)}.`,
  );
  const charts = make(
    "div",
    { class: "faith-charts" },
    chart("Taken away", curves.fractions, curves.deletion, curves.random_deletion, parts),
    chart("Put back", curves.fractions, curves.insertion, curves.random_insertion, parts),
  );
  const key = make(
    "p",
    { class: "small muted faith-key", "aria-hidden": "true" },
    make("span", { class: "key-own" }, "this map"),
    make("span", { class: "key-random" }, "random order"),
  );
  return make("div", { class: "faithfulness stack" }, sentence, charts, key);
}

function verdictOf({ score, random_score: random, beats_random: beats }) {
  if (!beats) return { kind: "doubt", name: "Do not trust this map." };
  if (score > random + 0.1) return { kind: "trust", name: "This map can be trusted." };
  return { kind: "little", name: "This map says a little." };
}

function chart(title, fractions, own, random, parts) {
  const point = (x, y) => `${(x * WIDTH).toFixed(1)},${((1 - y) * HEIGHT).toFixed(1)}`;
  const line = (values) => fractions.map((x, place) => point(x, values[place])).join(" ");
  const middle = Math.floor(fractions.length / 2);
  const told =
    `${title}: with ${Math.round(100 * fractions[middle])} % of the ${parts}, the probability is ` +
    `${own[middle].toFixed(2)} in this map's order and ${random[middle].toFixed(2)} at random.`;
  return make(
    "figure",
    {},
    make("figcaption", { class: "small muted" }, title),
    draw(
      "svg",
      { viewBox: `-18 -6 ${WIDTH + 24} ${HEIGHT + 22}`, class: "chart", role: "img", "aria-label": told },
      draw("path", { class: "axis", d: `M0 0V${HEIGHT}H${WIDTH}` }),
      draw("text", { x: -5, y: 4, "text-anchor": "end" }, "1"),
      draw("text", { x: -5, y: HEIGHT + 4, "text-anchor": "end" }, "0"),
      draw("text", { x: WIDTH, y: HEIGHT + 14, "text-anchor": "end" }, `all ${parts}`),
      draw("polyline", { class: "curve plain", points: line(random) }),
      draw("polyline", { class: "curve", points: line(own) }),
    ),
  );
}
