// Where a patch, or the class token, attends: any layer, any head.

import { choiceRow, make, percent } from "../elements.js";
import { largest } from "../heatmap.js";
import { matrixOf, meanOfRows, rowOf } from "../matrices.js";
import { createPlayer } from "../player.js";
import { createScale } from "../scale.js";
import { createImageView, placeOf } from "./image-view.js";

/** @param {object} context of the view. */
export function createAttention({ model, api, signal, tell }) {
  const { grid_size: grid } = model.input;
  const { heads, class_token: hasToken } = model.attention;
  const layers = model.attention.layers.length;
  const wholeName = hasToken ? "the class token" : "all patches";

  let layer = layers - 1;
  let head = "mean";
  let pinned = null;
  let pointed = null;
  let picture = null;
  let matrix = null;
  let kept = new Map();
  let asking = new AbortController();

  const player = createPlayer(layers, () => layer, turnTo, signal);
  const scale = createScale();
  const said = make("p", { class: "said", "aria-live": "polite" });
  const view = createImageView({
    label: `Patches of the image, ${grid} by ${grid}: where each attends`,
    grid,
    describe: (patch) => `Patch ${placeOf(patch, grid)}`,
    pointed(patch) {
      pointed = patch;
      paint();
    },
    pinned(patch) {
      pinned = patch === pinned ? null : patch;
      paint();
    },
  });
  const layerRow = choiceRow(
    "Layer",
    Array.from({ length: layers }, (_, place) => ({ value: String(place), label: String(place + 1) })),
    String(layer),
    (value) => {
      player.stop();
      turnTo(Number(value));
    },
  );
  const headRow = choiceRow(
    "Head",
    [
      { value: "mean", label: "Mean" },
      ...Array.from({ length: heads }, (_, place) => ({ value: String(place), label: String(place + 1) })),
    ],
    head,
    (value) => {
      head = value;
      load();
    },
  );
  const token = make(
    "button",
    { type: "button", class: "plain", "aria-pressed": "true", onclick: () => { pinned = null; paint(); } },
    hasToken ? "From the class token" : "From all patches",
  );
  const element = make(
    "section",
    { class: "panel attention" },
    make("h2", {}, "Where it looks"),
    make("p", { class: "muted small" }, "Point at a patch to see what it attends to. Click to keep it."),
    view.element,
    scale.element,
    said,
    make("div", { class: "row bottom" }, layerRow, headRow),
    make("div", { class: "row" }, token, player.button),
  );

  function turnTo(value) {
    layer = value;
    layerRow.choose(String(layer));
    return load();
  }

  async function load() {
    if (!picture) return;
    asking.abort();
    asking = new AbortController();
    const mine = asking.signal;
    const key = `${layer}/${head}`;
    if (!kept.has(key)) {
      element.setAttribute("aria-busy", "true");
      const query = new URLSearchParams({ layer: layer + 1, head, all: true });
      try {
        const answer = await api.post(
          `/v1/models/${encodeURIComponent(model.id)}/attention?${query}`,
          picture,
          { signal: AbortSignal.any([signal, mine]) },
        );
        kept.set(key, matrixOf(answer.matrix ?? answer.weights, null));
      } catch (error) {
        if (!mine.aborted) player.stop();
        tell(error);
        return;
      } finally {
        if (!mine.aborted) element.removeAttribute("aria-busy");
      }
    }
    if (mine.aborted) return;
    matrix = kept.get(key);
    paint();
  }

  /** Shares of attention from a patch, or from the class token, to all tokens. */
  function shares(patch) {
    const first = hasToken ? 1 : 0;
    if (patch !== null) return rowOf(matrix, patch + first);
    return hasToken ? rowOf(matrix, 0) : meanOfRows(matrix);
  }

  function paint() {
    token.setAttribute("aria-pressed", String(pinned === null));
    if (!matrix) return;
    const from = pointed ?? pinned;
    const all = shares(from);
    const values = hasToken ? all.subarray(1) : all;
    const limit = largest(values);
    view.shade({ values, width: grid, limit, signed: false, opacity: 0.82, smooth: false }, from);
    scale.show(false, "0", percent(limit, 1));
    const most = values.indexOf(limit);
    const source = from === null ? wholeName : placeOf(from, grid);
    const rest = hasToken ? `, ${percent(all[0], 0)} to the class token` : "";
    said.textContent = `From ${source}: most to ${placeOf(most, grid)} (${percent(limit, 1)})${rest}.`;
    element.dataset.painted = `${layer}/${head}/${from ?? "whole"}`;
  }

  return {
    element,
    /** Another image: its file and, where the browser can show it, its pixels. */
    choose(blob, square) {
      picture = blob;
      matrix = null;
      kept = new Map();
      view.show(square);
      view.shade(null);
      said.textContent = "";
      return load();
    },
    /** Better pixels of the same image. */
    show: (square) => view.show(square),
  };
}
