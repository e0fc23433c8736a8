// Which words speak for a class and which against it, and how far to believe that.

import { choiceList, make, signed } from "../elements.js";
import { faithfulnessOf } from "../faithfulness.js";
import { largest } from "../heat.js";
import { methodName } from "../methods.js";

const NAMED = 3;

/**
 * @param {object} context of the view.
 * @param {object} page
 * @param {() => void} page.again asks for the explanation, as another choice was made.
 * @param {(line: string, stop: () => void) => () => void} page.progress
 */
export function createExplanation({ model, api, signal }, { again, progress }) {
  let method = model.default_method;
  let label = "";
  let explained = null;
  let asking = new AbortController();

  const faith = make("div");
  const methods = choiceList(
    "Method",
    model.methods.map((value) => ({ value, label: methodName(value, model.default_method) })),
    method,
    (value) => {
      method = value;
      again();
    },
  );
  const labels = choiceList(
    "Explain",
    [{ value: "", label: "its answer" }, ...model.class_names.map((value) => ({ value, label: value }))],
    label,
    (value) => {
      label = value;
      again();
    },
  );

  const isFor = (found, text) =>
    found?.asked.text === text && found.asked.method === method && found.asked.label === label;

  function told(word) {
    const { contributions, words, label: about, signed: bothWays, unit, read } = explained;
    if (word >= read) return `“${words[word].text}” is not read: the text is longer than the model reads.`;
    const value = contributions[word];
    const side = !bothWays || value === 0 ? "" : value > 0 ? `, for “${about}”` : `, against “${about}”`;
    return `“${words[word].text}”: ${number(value)}${side} (${unit}).`;
  }

  function number(value) {
    return explained.signed ? signed(value, 2) : value.toFixed(3);
  }

  /** The strongest words, each once. */
  function strongest(side) {
    const { contributions, words } = explained;
    const order = contributions.map((_, word) => word).filter((word) => side * contributions[word] > 0);
    order.sort((one, other) => side * (contributions[other] - contributions[one]));
    const named = new Map();
    for (const word of order) {
      const name = words[word].text.toLowerCase();
      if (!named.has(name)) named.set(name, `“${words[word].text}” ${number(contributions[word])}`);
      if (named.size === NAMED) break;
    }
    return [...named.values()].join(", ");
  }

  function toldOfAll() {
    const { label: about, signed: bothWays, unit } = explained;
    const most = strongest(1);
    const least = bothWays ? strongest(-1) : "";
    const parts = [most && `For “${about}”: ${most}`, least && `${most ? "against" : `Against “${about}”`}: ${least}`];
    return `${parts.filter(Boolean).join("; ") || "No word speaks for it"} (${unit}).`;
  }

  return {
    intro: "How much each word speaks for the class, or against it. Point at a word for its number.",
    controls: make("div", { class: "row bottom" }, methods, labels),
    below: faith,

    /** Whether this very text is explained, by this method and for this class. */
    has: (text) => isFor(explained, text),
    stop: () => asking.abort(),
    words: () => explained?.words ?? null,

    /** @throws {ApiError} also AbortError. */
    async load(text) {
      asking.abort();
      const mine = new AbortController();
      asking = mine;
      const query = new URLSearchParams({ method, ...(label && { label }) });
      const done = progress("Explaining", () => mine.abort());
      const asked = { method, label, text };
      try {
        const found = await api.post(
          `/v1/models/${encodeURIComponent(model.id)}/explain?${query}`,
          { inputs: text },
          { signal: AbortSignal.any([signal, mine.signal]) },
        );
        explained = { ...found, asked, limit: largest(found.contributions) };
      } finally {
        done();
      }
      faith.replaceChildren(faithfulnessOf(explained.faithfulness, explained.label, "words"));
    },

    /** How the text looks, with a word pointed at or none. */
    picture(word) {
      const { contributions: values, limit, signed: bothWays, read, label: about } = explained;
      return {
        values,
        limit,
        read,
        mark: word,
        takes: !bothWays,
        tip: word === null || word >= read ? "" : number(values[word]),
        said: word === null ? toldOfAll() : told(word),
        low: bothWays ? `against “${about}” ${number(-limit)}` : number(0),
        high: bothWays ? `${number(limit)} for “${about}”` : number(limit),
        name: `${explained.method}/${word ?? "all"}`,
      };
    },
  };
}
