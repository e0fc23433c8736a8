// Images: choose or draw one; see what the model answers, where it looks, and why.

import { createBars } from "../bars.js";
import { choiceRow, make, percent } from "../elements.js";
import { createAttention } from "../images/attention.js";
import { createExplanation } from "../images/explanation.js";
import { createExampleGrid } from "../images/example-grid.js";
import { createPad } from "../images/pad.js";
import { squareOf } from "../images/pictures.js";
import { createUpload } from "../images/upload.js";

export const title = "Images";

export async function render(container, context) {
  const { model, api, signal, tell } = context;
  const bars = createBars(model.class_names);
  const attention = createAttention(context);
  const explanation = createExplanation(context, (square) => {
    seen = square;
    attention.show(square);
  });
  const examples = createExampleGrid(context, choose);
  const upload = createUpload(signal, choose, tell);
  const pad = createPad(model.input, (blob, canvas, done) => {
    if (done) choose({ blob, name: "drawing", truth: null, square: canvas });
    else predict(blob, null);
  });
  const name = make("p", { class: "small muted" });
  let seen = null;
  let asking = new AbortController();

  const sources = { examples, upload, pad };
  const place = make("div");
  const row = choiceRow(
    "Image from",
    [
      { value: "examples", label: "Test set" },
      { value: "upload", label: "A file" },
      { value: "pad", label: "Drawing" },
    ],
    "examples",
    open,
  );
  const overIt = make(
    "button",
    {
      type: "button",
      class: "quiet",
      onclick: () => {
        row.choose("pad");
        open("pad", seen);
      },
    },
    "Draw over this image",
  );
  container.append(
    make("div", { class: "head" }, make("h1", {}, model.name ?? model.id), make("p", {}, summary(model))),
    make(
      "div",
      { class: "images-grid" },
      make("section", { class: "panel source" }, make("h2", {}, "An image"), row, place),
      make("section", { class: "panel answer" }, make("h2", {}, "What it sees"), name, bars.element, overIt),
      attention.element,
      explanation.element,
    ),
  );
  open("examples");

  function open(source, square = null) {
    place.replaceChildren(sources[source].element);
    if (source === "pad") {
      if (square) pad.take(square);
      pad.give();
    }
  }

  async function choose({ blob, name: called, truth, square = null }) {
    tell(null);
    const answering = predict(blob, truth);
    const mine = asking.signal;
    const decoded = square ?? (await squareOf(blob, model.input));
    // Only what the model could read takes the place of what is shown.
    if (!(await answering) || mine.aborted || signal.aborted) return;
    if (!truth) examples.unselect();
    name.textContent = truth ? `${called}, true class ${truth}` : called;
    seen = decoded;
    // What the browser cannot decode, the server may; it shows with the explanation.
    attention.choose(blob, seen);
    explanation.choose(blob, seen);
  }

  /** Whether the model answered. */
  async function predict(blob, truth) {
    asking.abort();
    asking = new AbortController();
    const mine = asking.signal;
    const address = `/v1/models/${encodeURIComponent(model.id)}/predict?top_k=${model.class_names.length}`;
    bars.wait();
    try {
      const answer = await api.post(address, blob, { signal: AbortSignal.any([signal, mine]) });
      bars.show(answer, truth);
      return true;
    } catch (error) {
      if (!mine.aborted) bars.stay();
      tell(error);
      return false;
    }
  }

  await examples.start(async ([first]) => {
    if (first) await examples.pick(first.index);
  });
}

function summary({ class_names: names, input, accuracy }) {
  const colours = input.channels === 1 ? "grey" : "colour";
  const parts = [`${names.length} classes`, `${input.image_size} × ${input.image_size}, ${colours}`];
  if (accuracy != null) parts.push(`${percent(accuracy, 1)} right on the test set`);
  return parts.join(" · ");
}
