// Where a word attends, or what the pool takes: any layer, any head.

import { choiceRow, make, percent } from "../elements.js";
import { largest } from "../heatmap.js";
import { matrixOf, meanOfRows, rowOf } from "../matrices.js";
import { createPlayer } from "../player.js";

const NAMED = 3;
const POOL = "head";

/**
 * @param {object} context of the view.
 * @param {object} page
 * @param {() => Promise<void>} page.again asks for another layer or head.
 * @param {() => void} page.changed a row has arrived.
 * @param {(line: string, stop: () => void) => () => void} page.progress
 * @param {(error: Error) => void} page.failed
 */
export function createAttention({ model, api, signal }, { again, changed, progress, failed }) {
  const { layers, heads, pool_heads: poolHeads } = model.attention;
  const address = `/v1/models/${encodeURIComponent(model.id)}/attention`;

  let layer = layers[0];
  let head = "mean";
  let found = null;
  let pinned = null;
  let text = null;
  let kept = new Map();
  let asking = new AbortController();
  let askingRow = new AbortController();

  const player = createPlayer(layers.length, () => layers.indexOf(layer), turnTo, signal);
  const layerRow = choiceRow(
    "Layer",
    layers.map((value) => ({ value: String(value), label: value === POOL ? "Pool" : String(value) })),
    String(layer),
    (value) => {
      player.stop();
      turnTo(layers.findIndex((one) => String(one) === value));
    },
  );
  const headPlace = make("div", { class: "heads" });
  showHeads();

  function showHeads() {
    const count = layer === POOL ? poolHeads : heads;
    if (head !== "mean" && Number(head) >= count) head = "mean";
    const numbers = Array.from({ length: count }, (_, place) => ({ value: String(place), label: String(place + 1) }));
    headPlace.replaceChildren(
      choiceRow("Head", [{ value: "mean", label: "Mean" }, ...numbers], head, (value) => {
        head = value;
        again();
      }),
    );
  }

  function turnTo(place) {
    layer = layers[place];
    layerRow.choose(String(layer));
    showHeads();
    return again();
  }

  const ask = (query, mine) =>
    api.post(
      `${address}?${new URLSearchParams({ layer, head, ...query })}`,
      { inputs: text },
      { signal: AbortSignal.any([signal, mine.signal]) },
    );

  /** A matrix, the pool's weights, or, of very long texts, one row at a time. */
  async function fetchAll(mine) {
    let answer;
    try {
      answer = await ask({}, mine);
    } catch (error) {
      if (error.status !== 422 || layer === POOL) throw error;
      // Too many words for all of them at once; any other mistake shows here as well.
      answer = await ask({ query: 0 }, mine);
      return { words: answer.words, rows: new Map([[0, Float32Array.from(answer.weights)]]) };
    }
    const { words } = answer;
    if (answer.matrix === undefined) return { words, pool: Float32Array.from(answer.weights) };
    const matrix = matrixOf(answer.matrix, words.length);
    return { words, matrix, mean: meanOfRows(matrix) };
  }

  async function fetchRow(word) {
    askingRow.abort();
    const mine = new AbortController();
    askingRow = mine;
    const into = found;
    try {
      const answer = await ask({ query: word }, mine);
      into.rows.set(word, Float32Array.from(answer.weights));
      if (into === found) changed();
    } catch (error) {
      failed(error);
    }
  }

  /** Shares of attention from a word, or from all of them. */
  function shares(from) {
    if (found.pool) return found.pool;
    if (found.matrix) return from === null ? found.mean : rowOf(found.matrix, from);
    if (from === null) return [];
    if (!found.rows.has(from)) fetchRow(from);
    return found.rows.get(from) ?? [];
  }

  function told(values, from) {
    if (!values.length) return "Point at a word to see where it attends.";
    const order = Array.from(values, (_, word) => word);
    order.sort((one, other) => values[other] - values[one]);
    const most = order
      .slice(0, NAMED)
      .map((word) => `“${found.words[word].text}” ${percent(values[word])}`)
      .join(", ");
    if (found.pool) return `The pool takes most from ${most}.`;
    return from === null ? `Over all words, most goes to ${most}.` : `“${found.words[from].text}” attends most to ${most}.`;
  }

  return {
    intro: "Point at a word to see which words it attends to. Click to keep it.",
    controls: make("div", { class: "row bottom" }, layerRow, player.button, headPlace),
    below: null,

    has: (now) => text === now && kept.has(`${layer}/${head}`),
    stop() {
      asking.abort();
      player.stop();
    },
    words: () => found?.words ?? null,
    pin(word) {
      pinned = word === pinned ? null : word;
    },

    /** @throws {ApiError} also AbortError. */
    async load(now) {
      asking.abort();
      askingRow.abort();
      const mine = new AbortController();
      asking = mine;
      if (now !== text) {
        text = now;
        kept = new Map();
        found = null;
        pinned = null;
      }
      const key = `${layer}/${head}`;
      if (!kept.has(key)) {
        const done = progress("Reading", () => mine.abort());
        try {
          kept.set(key, await fetchAll(mine));
        } catch (error) {
          if (error.name !== "AbortError") player.stop();
          throw error;
        } finally {
          done();
        }
      }
      found = kept.get(key);
    },

    /** How the text looks, with a word pointed at or none. */
    picture(pointed) {
      const from = found.pool ? null : (pointed ?? pinned);
      const values = shares(from);
      const limit = largest(values);
      const own = found.pool && pointed !== null ? percent(values[pointed], 1) : "";
      return {
        values,
        limit,
        read: found.words.length,
        mark: found.pool ? pointed : from,
        takes: true,
        tip: own,
        said: own ? `The pool takes ${own} from “${found.words[pointed].text}”.` : told(values, from),
        low: "0",
        high: limit ? percent(limit, 1) : "",
        name: `${layer}/${head}/${from ?? "all"}`,
      };
    },
  };
}
