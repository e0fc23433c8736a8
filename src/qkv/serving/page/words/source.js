// The text itself, as the user writes it.

import { freshId, make } from "../elements.js";

/** Words as people count them; the model's own are finer. */
export function countWords(text) {
  return text.match(/\S+/g)?.length ?? 0;
}

/**
 * @param {{typed: (text: string) => void, explain: () => void}} listeners
 * @returns {{element: HTMLElement, set: (text: string) => void}}
 */
export function createSource({ typed, explain }) {
  const id = freshId("text");
  const count = make("span", { class: "small muted" });
  const button = make("button", { type: "button", onclick: explain }, "Explain");
  const area = make("textarea", {
    id,
    rows: 8,
    spellcheck: "false",
    placeholder: "Write or paste a text",
    oninput: () => {
      measure();
      typed(area.value);
    },
    onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !button.disabled) explain();
    },
  });

  function measure() {
    const words = countWords(area.value);
    count.textContent = words === 1 ? "1 word" : `${words.toLocaleString("en")} words`;
    button.disabled = !words;
  }

  measure();
  return {
    element: make(
      "div",
      { class: "source-text stack" },
      make("label", { class: "unseen", for: id }, "Text"),
      area,
      make("div", { class: "row apart" }, count, button),
    ),
    set(text) {
      area.value = text;
      area.scrollTop = 0;
      measure();
    },
  };
}
