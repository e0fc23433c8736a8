// Which words speak for a class and which against it, as shades of the text.

import { make, signed } from "../elements.js";
import { createExplaining } from "../explaining.js";
import { largest } from "../heatmap.js";

const NAMED = 3;

/**
 * @param {object} context of the view.
 * @param {object} page
 * @param {() => void} page.again asks for the explanation, as another choice was made.
 * @param {(line: string, stop: () => void) => () => void} page.progress
 */
export function createExplanation(context, { again, progress }) {
  const explaining = createExplaining(context, "words", again);
  let explained = null;

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
    controls: make("div", { class: "row bottom" }, ...explaining.controls),
    below: explaining.faith,

    /** Whether this very text is explained, by this method and for this class. */
    has(text) {
      const { method, label } = explaining.choice();
      const asked = explained?.asked;
      return asked?.text === text && asked.method === method && asked.label === label;
    },
    stop: explaining.stop,
    words: () => explained?.words ?? null,

    /** @throws {ApiError} also AbortError. */
    async load(text) {
      const asked = { ...explaining.choice(), text };
      const done = progress("Explaining", explaining.stop);
      try {
        const found = await explaining.ask({ inputs: text });
        explained = { ...found, asked, limit: largest(found.contributions) };
      } finally {
        done();
      }
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
