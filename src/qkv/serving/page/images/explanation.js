// What in the image speaks for a class, as colours over it.

import { make, signed } from "../elements.js";
import { createExplaining } from "../explaining.js";
import { largest } from "../heatmap.js";
import { createScale } from "../scale.js";
import { squareFromPixels } from "./pictures.js";
import { createImageView, placeOf } from "./image-view.js";

/**
 * @param {object} context of the view.
 * @param {(square: HTMLCanvasElement) => void} seen gets what the model saw.
 */
export function createExplanation(context, seen) {
  const { model, tell } = context;
  const { grid_size: grid } = model.input;
  const explaining = createExplaining(context, "patches", load);
  let opacity = 0.8;
  let picture = null;
  let explained = null;

  const scale = createScale();
  const said = make("p", { class: "said", "aria-live": "polite" });
  const view = createImageView({
    label: `Patches of the image, ${grid} by ${grid}: what each contributes`,
    grid,
    describe: (patch) => `Patch ${placeOf(patch, grid)}`,
    pointed: paint,
  });
  const slider = make("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 100 * opacity,
    id: "heat-opacity",
    oninput: (event) => {
      opacity = Number(event.target.value) / 100;
      paint(null);
    },
  });
  const element = make(
    "section",
    { class: "panel explanation" },
    make("h2", {}, "Why this answer"),
    make("p", { class: "muted small" }, "How much each part of the image speaks for the class."),
    view.element,
    scale.element,
    said,
    make(
      "div",
      { class: "row bottom" },
      ...explaining.controls,
      make("div", { class: "field grow" }, make("label", { for: "heat-opacity" }, "Strength of the colours"), slider),
    ),
    explaining.faith,
  );

  async function load() {
    if (!picture) return;
    element.setAttribute("aria-busy", "true");
    let found;
    try {
      found = await explaining.ask(picture);
    } catch (error) {
      // Another is under way already, and this stays busy.
      if (error.name === "AbortError") return;
      element.removeAttribute("aria-busy");
      tell(error);
      return;
    }
    element.removeAttribute("aria-busy");
    explained = { ...found, heat: Float32Array.from(found.heat.flat()), width: found.heat[0].length };
    const square = squareFromPixels(explained.pixels);
    view.show(square);
    seen(square);
    paint(null);
  }

  function paint(patch) {
    if (!explained) return;
    const { heat, width, signed: bothWays, contributions, unit } = explained;
    const limit = largest(heat);
    // One value a patch is shown as patches; what tells pixels apart flows.
    view.shade({ values: heat, width, limit, signed: bothWays, opacity, smooth: true }, patch);
    const top = largest(contributions);
    scale.show(bothWays, bothWays ? "against" : "little", bothWays ? "for" : "much");
    said.textContent =
      patch === null
        ? `For “${explained.label}”; the strongest patch has ${signed(top)} (${unit}).`
        : `${placeOf(patch, grid)}: ${signed(contributions[patch])} (${unit}).`;
    element.dataset.painted = `${explained.method}/${patch ?? "whole"}`;
  }

  return {
    element,
    choose(blob, square) {
      picture = blob;
      explained = null;
      view.show(square);
      view.shade(null);
      said.textContent = "";
      explaining.faith.replaceChildren();
      return load();
    },
  };
}
