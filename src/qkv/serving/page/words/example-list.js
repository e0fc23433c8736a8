// Test texts to choose from, by their beginnings.

import { make, percent } from "../elements.js";
import { createExamples } from "../examples.js";

/**
 * @param {object} context of the view.
 * @param {(chosen: {text: string, name: string, truth: string}) => Promise<void>} chosen
 */
export function createExampleList(context, chosen) {
  const { model, api } = context;
  const list = make("ul", { class: "texts" });
  const examples = createExamples(
    context,
    { things: "texts", atOnce: 6, list, mark: "aria-pressed", show, read },
    chosen,
  );

  function show(found) {
    list.replaceChildren(...found.map(entry));
  }

  function entry({ index, text, excerpt, label, predicted, probability }) {
    const right = predicted === label;
    const answer = right ? "rightly" : `taken for ${predicted}`;
    const button = make(
      "button",
      {
        type: "button",
        class: right ? "text-entry" : "text-entry wrong",
        dataset: { index },
        onclick: () => examples.pick(index),
      },
      make("span", { class: "text-told" }, `${label}, ${answer} (${percent(probability)})`),
      make("span", { class: "text-start" }, excerpt ? `${text}…` : text),
    );
    return make("li", {}, button);
  }

  async function read(index, until) {
    const address = `/v1/models/${encodeURIComponent(model.id)}/examples/${index}`;
    // What is listed of a long text is its beginning.
    const { text, label } = await api.get(address, { signal: until });
    return { text, name: `test text ${index}`, truth: label };
  }

  return examples;
}
