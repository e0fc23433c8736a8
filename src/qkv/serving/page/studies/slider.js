// A slider with its name and its value in words.

import { freshId, make } from "../elements.js";

/**
 * @param {object} options
 * @param {string} options.label
 * @param {number} options.min
 * @param {number} options.max
 * @param {number} options.step
 * @param {number} options.value
 * @param {(value: number) => string} options.say
 * @param {(value: number) => void} options.moved
 */
export function createSlider({ label, min, max, step, value, say, moved }) {
  const id = freshId("slider");
  const shown = make("output", { for: id, class: "slider-value" });
  const input = make("input", { id, type: "range", min, max, step, oninput: () => tell() });
  input.value = String(value);

  function words() {
    const text = say(Number(input.value));
    shown.textContent = text;
    input.setAttribute("aria-valuetext", text);
  }
  function tell() {
    words();
    moved(Number(input.value));
  }
  words();
  return {
    element: make("div", { class: "slider" }, make("div", { class: "row apart" }, make("label", { for: id }, label), shown), input),
    input,
    /** Moves it as a hand would. */
    set: (wanted) => {
      input.value = String(wanted);
      tell();
    },
  };
}
