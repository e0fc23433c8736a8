// Probabilities as bars.

import { make, percent } from "./elements.js";

const MOST = 12;

/**
 * Bars of a classifier's answer. Up to twelve classes keep their places, so that a live answer
 * moves the bars and not the names; of more, the likeliest are shown.
 *
 * @param {string[]} classNames
 * @returns {{element: HTMLElement, show: Function, wait: Function, stay: Function, clear: Function}}
 */
export function createBars(classNames) {
  const fixed = classNames.length <= MOST;
  const list = make("ul", { class: "bars" });
  const said = make("p", { class: "unseen", "aria-live": "polite" });
  const element = make("div", {}, list, said);
  const rows = (fixed ? classNames : classNames.slice(0, MOST)).map((name) => {
    const label = make("span", { class: "bar-name" }, name);
    const fill = make("span", { class: "bar-fill" });
    const value = make("span", { class: "bar-value" }, "–");
    const track = make("span", { class: "bar-track", "aria-hidden": "true" }, fill);
    const item = make("li", {}, label, track, value);
    list.append(item);
    return { name, label, fill, value, item };
  });
  let telling = 0;

  function show(answer, truth = null) {
    const sorted = answer.toSorted((one, other) => other.score - one.score);
    const scores = new Map(answer.map(({ label, score }) => [label, score]));
    for (const [place, row] of rows.entries()) {
      if (!fixed) {
        row.name = sorted[place]?.label ?? "";
        row.label.textContent = row.name;
      }
      const score = scores.get(row.name) ?? 0;
      row.fill.style.transform = `scaleX(${score})`;
      row.value.textContent = percent(score);
      row.item.classList.toggle("top", row.name === sorted[0].label);
      row.item.classList.toggle("truth", row.name === truth);
      row.item.title = row.name === truth ? "the true class" : "";
    }
    list.removeAttribute("aria-busy");
    // Only an answer that stays is read out.
    clearTimeout(telling);
    telling = setTimeout(() => {
      said.textContent = `${sorted[0].label}, ${percent(sorted[0].score)}`;
    }, 700);
  }

  return {
    element,
    show,
    wait: () => list.setAttribute("aria-busy", "true"),
    /** No other answer came: the one that is shown still holds. */
    stay: () => list.removeAttribute("aria-busy"),
    clear: () => {
      clearTimeout(telling);
      said.textContent = "";
      list.removeAttribute("aria-busy");
      for (const { fill, value, item } of rows) {
        fill.style.transform = "scaleX(0)";
        value.textContent = "–";
        item.classList.remove("top", "truth");
      }
    },
  };
}
