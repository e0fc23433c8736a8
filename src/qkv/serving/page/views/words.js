// Words: write or choose a text; see what the model answers, and which words make it answer so.

import { createBars } from "../bars.js";
import { make, percent } from "../elements.js";
import { createExampleList } from "../words/example-list.js";
import { createReading } from "../words/reading.js";
import { countWords, createSource } from "../words/source.js";

export const title = "Words";

// For people who have no text at hand; a short test example is better, as it is of the model's kind.
const A_TEXT =
  "I expected little. The first half hour is slow and the sound is poor, but the acting is " +
  "wonderful, the story never turns dull again, and the last scene moved me more than I can say.";
const PREDICT_MILLISECONDS = 140;
const EXPLAIN_MILLISECONDS = 1000;
// So short a text is explained without being asked: while it is typed, and when it is chosen.
const WORDS_WHILE_TYPED = 60;
const WORDS_WHEN_CHOSEN = 160;

export async function render(container, context) {
  const { model, api, signal, tell } = context;
  const base = `/v1/models/${encodeURIComponent(model.id)}`;
  const bars = createBars(model.class_names);
  const reading = createReading(context);
  const examples = createExampleList(context, choose);
  const name = make("p", { class: "small muted" });
  const source = createSource({ typed, explain });
  let text = "";
  let truth = null;
  let asking = new AbortController();
  let predicting = 0;
  let explaining = 0;

  container.append(
    make("div", { class: "head" }, make("h1", {}, model.name ?? model.id), make("p", {}, summary(model))),
    make(
      "div",
      { class: "words-grid" },
      make("section", { class: "panel text-source" }, make("h2", {}, "A text"), source.element),
      make("section", { class: "panel text-answer" }, make("h2", {}, "What it answers"), name, bars.element),
      reading.element,
      make("section", { class: "panel text-examples" }, make("h2", {}, "Test examples"), examples.element),
    ),
  );
  signal.addEventListener("abort", forget);

  function forget() {
    clearTimeout(predicting);
    clearTimeout(explaining);
  }

  function typed(now) {
    forget();
    tell(null);
    examples.unselect();
    text = now;
    truth = null;
    name.textContent = "";
    reading.wait();
    predicting = setTimeout(predict, PREDICT_MILLISECONDS);
    explaining = setTimeout(
      () => reading.show(text, { explain: countWords(text) < WORDS_WHILE_TYPED }),
      EXPLAIN_MILLISECONDS,
    );
  }

  function explain() {
    clearTimeout(explaining);
    tell(null);
    return reading.show(text, { explain: true, asked: true });
  }

  /** @param {{text: string, name: string, truth: string | null}} chosen */
  async function choose(chosen) {
    forget();
    tell(null);
    ({ text, truth } = chosen);
    source.set(text);
    name.textContent = truth ? `${chosen.name}, true class ${truth}` : chosen.name;
    await Promise.all([
      predict(),
      reading.show(text, { explain: countWords(text) < WORDS_WHEN_CHOSEN }),
    ]);
  }

  async function predict() {
    asking.abort();
    asking = new AbortController();
    const mine = asking.signal;
    if (!text.trim()) {
      bars.clear();
      return;
    }
    bars.wait();
    try {
      const answer = await api.post(
        `${base}/predict?top_k=${model.class_names.length}`,
        { inputs: text },
        { signal: AbortSignal.any([signal, mine]) },
      );
      bars.show(answer, truth);
    } catch (error) {
      if (!mine.aborted) bars.clear();
      tell(error);
    }
  }

  await examples.start(async (listed) => {
    if (signal.aborted || text) return;
    const short = listed.find(({ excerpt }) => !excerpt);
    if (short) await examples.pick(short.index);
    else await choose({ text: A_TEXT, name: "a text to begin with", truth: null });
  });
}

function summary({ class_names: names, input, accuracy }) {
  const tokens = input.max_tokens.toLocaleString("en");
  const parts = [`${names.length} classes`, `reads up to ${tokens} tokens`];
  if (accuracy != null) parts.push(`${percent(accuracy, 1)} right on the test set`);
  return parts.join(" · ");
}
