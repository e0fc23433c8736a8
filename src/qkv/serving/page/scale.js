// What the colours of a heatmap mean: a strip with its ends named.

import { make } from "./elements.js";
import { paintScale } from "./heatmap.js";

/** @returns {{element: HTMLElement, show: (signed: boolean, low: string, high: string) => void}} */
export function createScale() {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const low = make("span");
  const high = make("span");
  const element = make("div", { class: "scale small muted" }, low, canvas, high);
  let shown = null;
  return {
    element,
    show(signed, lowest, highest) {
      if (shown !== signed) paintScale(canvas, signed);
      shown = signed;
      low.textContent = lowest;
      high.textContent = highest;
    },
  };
}
