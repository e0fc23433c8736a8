// Layers one after another: a button that plays them once, from the next one to the last.

import { make } from "./elements.js";

const STEP_MILLISECONDS = 800;

/**
 * @param {number} count of layers.
 * @param {() => number} here the place of the layer that is shown.
 * @param {(place: number) => Promise<void>} turnTo shows another.
 * @param {AbortSignal} signal of the view.
 * @returns {{button: HTMLButtonElement, stop: () => void}}
 */
export function createPlayer(count, here, turnTo, signal) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const button = make("button", { type: "button", class: "plain", onclick: toggle });
  let playing = null; // stands for one play, so that an older one knows that it is over

  still.addEventListener("change", name, { signal });
  signal.addEventListener("abort", stop);
  name();

  function name() {
    button.textContent = still.matches ? "Next layer" : playing ? "Stop" : "Play the layers";
  }

  function stop() {
    playing = null;
    name();
  }

  function toggle() {
    if (playing) stop();
    // Whoever asked for less motion gets one layer at a press.
    else if (still.matches) turnTo((here() + 1) % count);
    else play();
  }

  async function play() {
    const mine = {};
    playing = mine;
    name();
    for (let place = (here() + 1) % count; place < count && playing === mine; place += 1) {
      // A layer that arrives late is seen no shorter.
      await turnTo(place);
      await new Promise((done) => { setTimeout(done, STEP_MILLISECONDS); });
    }
    if (playing === mine) stop();
  }

  return { button, stop };
}
