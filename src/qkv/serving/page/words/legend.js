// What the shades mean: the same shades in a row, with their ends named.

import { make } from "../elements.js";
import { strength } from "./text-view.js";

const CELLS = 33;

/** @returns {{element: HTMLElement, show: (takes: boolean, low: string, high: string) => void}} */
export function createLegend() {
  const cells = Array.from({ length: CELLS }, () => make("span", { class: "shade" }));
  const low = make("span");
  const high = make("span");
  const strip = make("span", { class: "legend-strip", "aria-hidden": "true" }, ...cells);
  const element = make("div", { class: "legend small muted" }, strip, low, high);
  let drawn = null;
  return {
    element,
    show(takes, lowest, highest) {
      low.textContent = lowest;
      high.textContent = highest;
      if (takes === drawn) return;
      drawn = takes;
      element.classList.toggle("takes", takes);
      for (const [place, cell] of cells.entries()) {
        const share = place / (CELLS - 1);
        const value = takes ? share : 2 * share - 1;
        cell.classList.toggle("against", value < 0);
        cell.style.setProperty("--strength", String(strength(value, 1, takes)));
      }
    },
  };
}
