// Test examples to choose from: some at a time, of a class, by their answers, or only mistakes.

import { choiceList, make } from "./elements.js";

/**
 * @param {object} context of the view; its query may name a filter and an example.
 * @param {object} kind
 * @param {string} kind.things what they are: `images` or `texts`.
 * @param {number} kind.atOnce how many are listed.
 * @param {HTMLElement} kind.list where; an entry has `data-index`.
 * @param {string} kind.mark the attribute by which an entry is the chosen one.
 * @param {(examples: object[], until: AbortSignal) => void} kind.show fills the list, until others
 *   take their place.
 * @param {(index: number, until: AbortSignal) => Promise<object>} kind.read what is chosen.
 * @param {(chosen: object) => Promise<void>} chosen
 */
export function createExamples({ model, api, signal, tell, query }, kind, chosen) {
  const { things, atOnce, list, mark } = kind;
  const address = `/v1/models/${encodeURIComponent(model.id)}/examples`;
  let offset = 0;
  let total = 0;
  let truth = query.get("truth") ?? "";
  let predicted = query.get("predicted") ?? "";
  let wrong = query.get("wrong") === "true";
  let selected = null;
  let asking = new AbortController();
  let picking = new AbortController();

  const range = make("span", { class: "small muted", "aria-live": "polite" });
  const turner = (label, by, sign) =>
    make("button", { type: "button", class: "plain", "aria-label": label, onclick: () => turn(by) }, sign);
  const back = turner(`Earlier ${things}`, -atOnce, "‹");
  const on = turner(`Later ${things}`, atOnce, "›");
  const names = ["", ...model.class_names].map((value) => ({ value, label: value || "any class" }));
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
    { class: "examples stack" },
    make(
      "div",
      { class: "row bottom" },
      choiceList("True class", names, truth, (value) => { truth = value; restart(); }),
      choiceList("Predicted", names, predicted, (value) => { predicted = value; restart(); }),
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
    const until = AbortSignal.any([signal, asking.signal]);
    const filter = new URLSearchParams({
      split: "test",
      offset,
      limit: atOnce,
      ...(truth && { truth }),
      ...(predicted && { predicted }),
      ...(wrong && { wrong: true }),
    });
    let answer;
    try {
      answer = await api.get(`${address}?${filter}`, { signal: until });
    } catch (error) {
      tell(error);
      return [];
    }
    total = answer.total;
    showPlace(answer.examples.length);
    // Of a data set that has left the server, only what the run kept can be shown.
    const whole = answer.examples.filter(({ text, image }) => (text ?? image) !== undefined);
    kind.show(whole, until);
    select(selected);
    return whole;
  }

  function showPlace(count) {
    const [first, last, all] = [offset + 1, Math.min(offset + count, total), total].map((number) =>
      number.toLocaleString("en"),
    );
    range.textContent = total ? `${first} to ${last} of ${all}` : `No such ${things}`;
    back.disabled = offset === 0;
    on.disabled = offset + count >= total;
  }

  function select(index) {
    selected = index;
    for (const entry of list.querySelectorAll("[data-index]")) {
      entry.setAttribute(mark, String(Number(entry.dataset.index) === index));
    }
  }

  /** Chooses an example by its index, listed here or not. */
  async function pick(index) {
    picking.abort();
    picking = new AbortController();
    select(index);
    let found;
    try {
      found = await kind.read(index, AbortSignal.any([signal, picking.signal]));
    } catch (error) {
      tell(error);
      return;
    }
    await chosen(found);
  }

  return {
    element,
    pick,
    /**
     * Lists the first ones, and chooses the one that the address names.
     *
     * @param {(examples: object[]) => Promise<void>} otherwise where it names none.
     */
    async start(otherwise) {
      const wanted = Number.parseInt(query.get("example") ?? "", 10);
      if (wanted >= 0) await Promise.all([restart(), pick(wanted)]);
      else await otherwise(await restart());
    },
    unselect() {
      picking.abort();
      select(null);
    },
  };
}
