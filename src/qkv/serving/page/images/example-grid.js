// Test images, as tiles to choose from.

import { make } from "../elements.js";
import { createExamples } from "../examples.js";
import { itemsInRow, rove } from "../roving.js";

/**
 * @param {object} context of the view.
 * @param {(picture: {blob: Blob, name: string, truth: string}) => Promise<void>} chosen
 */
export function createExampleGrid(context, chosen) {
  const { model, api, signal, tell } = context;
  const addresses = new Set();
  let shown = [];

  const tiles = make("div", { class: "tiles", role: "listbox", "aria-label": "Test images" });
  const cells = () => [...tiles.children];
  const examples = createExamples(
    context,
    { things: "images", atOnce: 20, list: tiles, mark: "aria-selected", show, read },
    chosen,
  );
  const stops = rove(tiles, cells, {
    columns: () => itemsInRow(cells()),
    chosen: (place) => examples.pick(shown[place].index),
  });
  signal.addEventListener("abort", forget);

  function forget() {
    for (const address of addresses) URL.revokeObjectURL(address);
    addresses.clear();
  }

  function show(found, until) {
    forget();
    shown = found;
    tiles.replaceChildren(...shown.map(tile));
    stops.reset(0);
    for (const [place, cell] of cells().entries()) fill(cell, shown[place], until);
  }

  function tile({ index, label, predicted }) {
    const right = predicted === label;
    return make(
      "div",
      {
        class: right ? "tile" : "tile wrong",
        role: "option",
        tabindex: -1,
        title: right ? label : `${label}, taken for ${predicted}`,
        "aria-label": `${label}, image ${index}${right ? "" : `, taken for ${predicted}`}`,
        dataset: { index },
        onclick: () => examples.pick(index),
      },
      make("img", { alt: "" }),
    );
  }

  async function fill(cell, example, until) {
    try {
      example.blob = await api.blob(example.image, { signal: until });
    } catch (error) {
      tell(error);
      return;
    }
    const address = URL.createObjectURL(example.blob);
    addresses.add(address);
    cell.firstChild.src = address;
  }

  async function read(index, until) {
    const options = { signal: until };
    const example =
      shown.find((one) => one.index === index) ??
      (await api.get(`/v1/models/${encodeURIComponent(model.id)}/examples/${index}`, options));
    const blob = example.blob ?? (await api.blob(example.image, options));
    return { blob, name: `test image ${index}`, truth: example.label };
  }

  return examples;
}
