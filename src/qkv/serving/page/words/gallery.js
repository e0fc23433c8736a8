// Test texts to choose from, by their beginnings.

import { choiceList, make, percent } from "../elements.js";

const A_PAGE = 6;

/**
 * @param {object} context of the view.
 * @param {(chosen: {text: string, name: string, truth: string}) => Promise<void>} chosen
 */
export function createGallery({ model, api, signal, tell, query }, chosen) {
  const base = `/v1/models/${encodeURIComponent(model.id)}/examples`;
  let offset = 0;
  let total = 0;
  let truth = query.get("truth") ?? "";
  let predicted = query.get("predicted") ?? "";
  let wrong = query.get("wrong") === "true";
  let selected = null;
  let asking = new AbortController();
  let picking = new AbortController();

  const list = make("ul", { class: "texts" });
  const range = make("span", { class: "small muted", "aria-live": "polite" });
  const turner = (label, by, sign) =>
    make("button", { type: "button", class: "plain", "aria-label": label, onclick: () => turn(by) }, sign);
  const back = turner("Earlier texts", -A_PAGE, "‹");
  const on = turner("Later texts", A_PAGE, "›");
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
    { class: "text-choice stack" },
    make(
      "div",
      { class: "row bottom" },
      choiceList("Truly", [...every, ...names], truth, (value) => { truth = value; restart(); }),
      choiceList("Answered", [...every, ...names], predicted, (value) => { predicted = value; restart(); }),
    ),
    make("label", { class: "check" }, wrongBox, "Only mistakes"),
    list,
    make("div", { class: "row apart" }, back, range, on),
  );

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
    const filter = new URLSearchParams({
      split: "test",
      offset,
      limit: A_PAGE,
      ...(truth && { truth }),
      ...(predicted && { predicted }),
      ...(wrong && { wrong: true }),
    });
    try {
      const answer = await api.get(`${base}?${filter}`, {
        signal: AbortSignal.any([signal, asking.signal]),
      });
      total = answer.total;
      show(answer.examples);
      return answer.examples;
    } catch (error) {
      tell(error);
      return [];
    }
  }

  function show(examples) {
    list.replaceChildren(...examples.filter(({ text }) => text != null).map(entry));
    const last = Math.min(offset + examples.length, total);
    range.textContent = total
      ? `${(offset + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${total.toLocaleString("en")}`
      : "No such texts";
    back.disabled = offset === 0;
    on.disabled = last >= total;
  }

  function entry({ index, text, excerpt, label, predicted: answer, probability }) {
    const right = answer === label;
    const told = right ? `${label}, rightly (${percent(probability)})` : `${label}, taken for ${answer} (${percent(probability)})`;
    const button = make(
      "button",
      {
        type: "button",
        class: right ? "text-entry" : "text-entry wrong",
        "aria-pressed": String(index === selected),
        dataset: { index },
        onclick: () => pick(index),
      },
      make("span", { class: "text-told" }, told),
      make("span", { class: "text-start" }, excerpt ? `${text}…` : text),
    );
    return make("li", {}, button);
  }

  function select(index) {
    selected = index;
    for (const button of list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.index) === index));
    }
  }

  /** Chooses a test example by its index, listed here or not. */
  async function pick(index) {
    picking.abort();
    picking = new AbortController();
    select(index);
    let example;
    try {
      example = await api.get(`${base}/${index}`, {
        signal: AbortSignal.any([signal, picking.signal]),
      });
    } catch (error) {
      tell(error);
      return;
    }
    await chosen({ text: example.text ?? "", name: `test text ${index}`, truth: example.label });
  }

  return {
    element,
    pick,
    /** Fetches the first texts and returns them. */
    start: restart,
    unselect() {
      picking.abort();
      select(null);
    },
  };
}
