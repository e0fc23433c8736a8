// What in the image speaks for a class, and how far to believe that.

import { choiceList, make, signed } from "../elements.js";
import { faithfulnessOf } from "../faithfulness.js";
import { largest } from "../heat.js";
import { methodName } from "../methods.js";
import { createScale } from "../scale.js";
import { squareFromPixels } from "./pictures.js";
import { createStage, placeOf } from "./stage.js";

/**
 * @param {object} context of the view.
 * @param {(square: HTMLCanvasElement) => void} seen gets what the model saw.
 */
export function createExplanation({ model, api, signal, tell }, seen) {
  const { grid_size: grid } = model.input;
  let method = model.default_method;
  let label = "";
  let opacity = 0.8;
  let picture = null;
  let explained = null;
  let asking = new AbortController();

  const scale = createScale();
  const said = make("p", { class: "said", "aria-live": "polite" });
  const faith = make("div");
  const stage = createStage({
    label: `Patches of the image, ${grid} by ${grid}: what each contributes`,
    grid,
    describe: (patch) => `Patch ${placeOf(patch, grid)}`,
    pointed: paint,
  });
  const methods = choiceList(
    "Method",
    model.methods.map((value) => ({ value, label: methodName(value, model.default_method) })),
    method,
    (value) => {
      method = value;
      load();
    },
  );
  const labels = choiceList(
    "Explain",
    [{ value: "", label: "its answer" }, ...model.class_names.map((value) => ({ value, label: value }))],
    label,
    (value) => {
      label = value;
      load();
    },
  );
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
    stage.element,
    scale.element,
    said,
    make(
      "div",
      { class: "row bottom" },
      methods,
      labels,
      make("div", { class: "field grow" }, make("label", { for: "heat-opacity" }, "Strength of the colours"), slider),
    ),
    faith,
  );

  async function load() {
    if (!picture) return;
    asking.abort();
    asking = new AbortController();
    const mine = asking.signal;
    element.setAttribute("aria-busy", "true");
    const query = new URLSearchParams({ method, ...(label && { label }) });
    try {
      const found = await api.post(
        `/v1/models/${encodeURIComponent(model.id)}/explain?${query}`,
        picture,
        { signal: AbortSignal.any([signal, mine]) },
      );
      explained = { ...found, heat: Float32Array.from(found.heat.flat()), width: found.heat[0].length };
    } catch (error) {
      tell(error);
      return;
    } finally {
      if (!mine.aborted) element.removeAttribute("aria-busy");
    }
    const square = squareFromPixels(explained.pixels);
    stage.show(square);
    seen(square);
    faith.replaceChildren(faithfulnessOf(explained.faithfulness, explained.label, "patches"));
    paint(null);
  }

  function paint(patch) {
    if (!explained) return;
    const { heat, width, signed: bothWays, contributions, unit } = explained;
    const limit = largest(heat);
    // One value a patch is shown as patches; what tells pixels apart flows.
    stage.shade({ values: heat, width, limit, signed: bothWays, opacity, smooth: true }, patch);
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
      stage.show(square);
      stage.shade(null);
      said.textContent = "";
      faith.replaceChildren();
      return load();
    },
  };
}
