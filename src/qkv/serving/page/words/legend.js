// What the shades mean: the same shades in a row, with their ends named.

import { make } from "../elements.js";
import { strength } from "./surface.js";

const CELLS = 33;

/** @returns {{element: HTMLElement, show: (signed: boolean, low: string, high: string) => void}} */
export function createLegend() {
  const cells = Array.from({ length: CELLS }, () => make("span", { class: "shade" }));
  const low = make("span");
  const high = make("span");
  const strip = make("span", { class: "legend-strip", "aria-hidden": "true" }, ...cells);
  return {
    element: make("div", { class: "legend small muted" }, low, strip, high),
    show(signed, lowest, highest) {
      for (const [place, cell] of cells.entries()) {
        const share = place / (CELLS - 1);
        const value = signed ? 2 * share - 1 : share;
        cell.classList.toggle("against", value < 0);
        cell.style.setProperty("--strength", String(strength(value, 1)));
      }
      low.textContent = lowest;
      high.textContent = highest;
    },
  };
}
