// Something that takes seconds: what it is, for how long already, and a way to stop it.

import { make } from "../elements.js";

const SHOWN_AFTER_MILLISECONDS = 250;

/** @returns {{element: HTMLElement, start: (line: string, stop: () => void) => () => void}} */
export function createProgress() {
  const said = make("span", { role: "status" });
  const seconds = make("span", { class: "muted number", "aria-hidden": "true" });
  const button = make("button", { type: "button", class: "plain" }, "Stop");
  const bar = make("span", { class: "progress-bar", "aria-hidden": "true" });
  const row = make("div", { class: "row progress", hidden: true }, said, seconds, button, bar);
  let current = 0;

  return {
    element: row,
    /** @returns {() => void} to call when it is over. */
    start(line, stop) {
      current += 1;
      const mine = current;
      const began = performance.now();
      const tick = () => {
        const passed = (performance.now() - began) / 1000;
        seconds.textContent = passed < 1 ? "" : `${Math.floor(passed)} s`;
      };
      // What is quick leaves no flash behind.
      const showing = setTimeout(() => {
        row.hidden = false;
        said.textContent = line;
        button.onclick = stop;
        tick();
      }, SHOWN_AFTER_MILLISECONDS);
      const ticking = setInterval(tick, 500);
      return () => {
        clearTimeout(showing);
        clearInterval(ticking);
        if (mine !== current) return;
        row.hidden = true;
        said.textContent = "";
      };
    },
  };
}
