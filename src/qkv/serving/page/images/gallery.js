// Test images to choose from.

import { choiceList, make } from "../elements.js";
import { itemsInRow, rove } from "../roving.js";

const A_PAGE = 20;

/**
 * @param {object} context of the view.
 * @param {(picture: {blob: Blob, name: string, truth: string}) => void} chosen
 */
export function createGallery({ model, api, signal, tell, query }, chosen) {
  const base = `/v1/models/${encodeURIComponent(model.id)}/examples`;
  const addresses = new Set();
  let offset = 0;
  let total = 0;
  let truth = query.get("truth") ?? "";
  let predicted = query.get("predicted") ?? "";
  let wrong = query.get("wrong") === "true";
  let asking = new AbortController();
  let shown = [];

  const tiles = make("div", { class: "tiles", role: "listbox", "aria-label": "Test images" });
  const cells = () => [...tiles.children];
  const stops = rove(tiles, cells, { columns: () => itemsInRow(cells()), chosen: (place) => pick(place) });
  const range = make("span", { class: "small muted", "aria-live": "polite" });
  const back = make("button", { type: "button", class: "plain", "aria-label": "Earlier images", onclick: () => turn(-A_PAGE) }, "‹");
  const on = make("button", { type: "button", class: "plain", "aria-label": "Later images", onclick: () => turn(A_PAGE) }, "›");
  const every = [{ value: "", label: "any class" }];
  const names = model.class_names.map((value) => ({ value, label: value }));
  const wrongBox = make("input", {
    type: "checkbox",
    checked: wrong,
    onchange: () => {
      wrong = wrongBox.checked;
      restart();
    },
  });
  const element = make(
    "div",
    { class: "gallery stack" },
    make(
      "div",
      { class: "row bottom" },
      choiceList("Truly", [...every, ...names], truth, (value) => { truth = value; restart(); }),
      choiceList("Answered", [...every, ...names], predicted, (value) => { predicted = value; restart(); }),
    ),
    make("label", { class: "check" }, wrongBox, "Only mistakes"),
    tiles,
    make("div", { class: "row apart" }, back, range, on),
  );
  signal.addEventListener("abort", forget);

  function forget() {
    for (const address of addresses) URL.revokeObjectURL(address);
    addresses.clear();
  }

  function restart() {
    offset = 0;
    return load();
  }

  function turn(by) {
    offset = Math.min(Math.max(offset + by, 0), Math.max(total - 1, 0));
    return load();
  }

  async function load() {
    asking.abort();
    asking = new AbortController();
    const until = AbortSignal.any([signal, asking.signal]);
    const wanted = { split: "test", offset, limit: A_PAGE };
    const filter = new URLSearchParams({
      ...wanted,
      ...(truth && { truth }),
      ...(predicted && { predicted }),
      ...(wrong && { wrong: true }),
    });
    try {
      const answer = await api.get(`${base}?${filter}`, { signal: until });
      total = answer.total;
      shown = answer.examples;
      show(until);
    } catch (error) {
      tell(error);
    }
  }

  function show(until) {
    forget();
    tiles.replaceChildren(...shown.map(tile));
    stops.reset(0);
    const last = Math.min(offset + shown.length, total);
    range.textContent = total
      ? `${(offset + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${total.toLocaleString("en")}`
      : "No such images";
    back.disabled = offset === 0;
    on.disabled = last >= total;
    for (const [place, cell] of cells().entries()) fill(cell, shown[place], until);
  }

  function tile(example, place) {
    const right = example.predicted === example.label;
    return make(
      "div",
      {
        class: right ? "tile" : "tile wrong",
        role: "option",
        tabindex: -1,
        "aria-selected": "false",
        title: right ? example.label : `${example.label}, taken for ${example.predicted}`,
        "aria-label": `${example.label}, image ${example.index}${right ? "" : `, taken for ${example.predicted}`}`,
        onclick: () => pick(place),
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

  async function pick(place) {
    const example = shown[place];
    if (!example) return;
    for (const [other, cell] of cells().entries()) cell.setAttribute("aria-selected", String(other === place));
    stops.reset(place);
    const blob = example.blob ?? (await api.blob(example.image, { signal }));
    chosen({ blob, name: `test image ${example.index}`, truth: example.label });
  }

  return {
    element,
    /** Fetches the first images and chooses one. */
    async start() {
      await restart();
      await pick(0);
    },
    unselect: () => {
      for (const cell of cells()) cell.setAttribute("aria-selected", "false");
    },
  };
}
