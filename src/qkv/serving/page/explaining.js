// Asking why: by which method, for which class, and how far to believe the answer.

import { choiceList, make } from "./elements.js";
import { faithfulnessOf } from "./faithfulness.js";
import { short } from "./numbers.js";

/** A method's name as the server gives it, and whether it is the default: the one that measures best. */
function methodName(method, best) {
  const name = method.charAt(0).toUpperCase() + method.slice(1).replaceAll("-", " ");
  return method === best ? `${name} (measures best)` : name;
}

/**
 * @param {object} context of the view.
 * @param {string} parts what an input consists of: `patches` or `words`.
 * @param {() => void} again asks for the explanation, as another choice was made.
 */
export function createExplaining({ model, api, signal }, parts, again) {
  let method = model.default_method;
  let label = "";
  let asking = new AbortController();

  const faith = make("div");
  const methods = model.methods.map((value) => ({ value, label: methodName(value, model.default_method) }));
  const labels = ["", ...model.class_names].map((value) => ({ value, label: value || "its answer" }));
  const controls = [
    choiceList("Method", methods, method, (value) => { method = value; again(); }),
    choiceList("Explain", labels, label, (value) => { label = value; again(); }),
  ];

  return {
    controls,
    faith,
    /** What is chosen. */
    choice: () => ({ method, label }),
    stop: () => asking.abort(),

    /**
     * The explanation of an input as it is chosen now; what was asked before is forgotten.
     *
     * @throws {ApiError} also AbortError.
     */
    async ask(input) {
      asking.abort();
      const mine = new AbortController();
      asking = mine;
      const query = new URLSearchParams({ method, ...(label && { label }) });
      const found = await api.post(
        `/v1/models/${encodeURIComponent(model.id)}/explain?${query}`,
        input,
        { signal: AbortSignal.any([signal, mine.signal]) },
      );
      faith.replaceChildren(faithfulnessOf(found.faithfulness, found.label, parts), ...notesOn(found));
      return found;
    },
  };
}

/** What else to know of an explanation, a line each. */
function notesOn({ coarsened, completeness_gap: gap, unit }) {
  const lines = [];
  if (coarsened) lines.push(`The input is long, so this is coarser: ${coarsened}.`);
  if (gap !== null) lines.push(`Its contributions miss the sum they owe by ${short(gap)} ${unit}.`);
  return lines.map((line) => make("p", { class: "small muted" }, line));
}
