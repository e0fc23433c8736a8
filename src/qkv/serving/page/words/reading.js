// The text as the model reads it: why it answers so, or where its words attend.

import { choiceRow, make } from "../elements.js";
import { createAttention } from "./attention.js";
import { createExplanation } from "./explanation.js";
import { createLegend } from "./legend.js";
import { createProgress } from "./progress.js";
import { createTextView } from "./text-view.js";

/** @param {object} context of the view. */
export function createReading(context) {
  const { model, signal, tell } = context;
  const bar = createProgress();
  const page = {
    again,
    changed: () => paint(pointed),
    progress: bar.start,
    failed: tell,
  };
  const lenses = { why: createExplanation(context, page) };
  if (model.attention.layers.length) lenses.where = createAttention(context, page);
  let lens = lenses.why;
  let text = "";
  let pointed = null;
  let loading = 0;

  const view = createTextView({
    pointed: (word) => paint(word),
    pinned(word) {
      lens.pin?.(word);
      paint(pointed);
    },
  });
  const legend = createLegend();
  const intro = make("p", { class: "muted small" });
  const controls = make("div");
  const below = make("div");
  const said = make("p", { class: "reading-said", "aria-live": "polite" });
  const told = make("div", { class: "reading-told" }, legend.element, said);
  const modes = choiceRow(
    "Show",
    [
      { value: "why", label: "Why this answer" },
      { value: "where", label: "Where it attends" },
    ],
    "why",
    (mode) => {
      turnTo(mode);
      refresh(mode === "where" || lenses.why.has(text));
    },
  );
  modes.classList.add("modes");
  const element = make(
    "section",
    { class: "panel reading", "aria-label": "The text, word by word" },
    make("div", { class: "row apart" }, make("h2", {}, "Word by word"), lenses.where ? modes : null),
    intro,
    controls,
    bar.element,
    told,
    view.element,
    below,
  );
  turnTo("why");
  clear("");

  function turnTo(mode) {
    if (lens !== lenses[mode]) lens.stop();
    lens = lenses[mode];
    modes.choose(mode);
    intro.textContent = lens.intro;
    controls.replaceChildren(lens.controls);
    below.replaceChildren(...(lens.below ? [lens.below] : []));
  }

  /** Text without shades, and what to do about it. */
  function clear(hint) {
    pointed = null;
    element.classList.remove("stale");
    view.show(text, null);
    legend.element.hidden = true;
    below.hidden = true;
    said.textContent = hint;
    element.dataset.painted = "";
  }

  function again() {
    return refresh(true);
  }

  /** Shows what there is of this text; asks for it if that is wanted. */
  async function refresh(wanted) {
    const mine = lens;
    if (!text.trim()) {
      lens.stop();
      clear("Write a text first.");
      return;
    }
    if (!wanted && !lens.has(text)) {
      lens.stop();
      clear("Press Explain to see which words speak for the answer; for a long text that takes seconds.");
      return;
    }
    const asked = text;
    loading += 1;
    const turn = loading;
    element.setAttribute("aria-busy", "true");
    if (!element.dataset.painted) said.textContent = "";
    try {
      if (mine !== lenses.why || !mine.has(asked)) await mine.load(asked);
    } catch (error) {
      if (error.name === "AbortError" && (mine !== lens || asked !== text)) return;
      if (!signal.aborted && !mine.has(asked)) refuse(error);
      return;
    } finally {
      if (turn === loading) element.removeAttribute("aria-busy");
    }
    if (mine !== lens || asked !== text) return;
    element.classList.remove("stale");
    pointed = null;
    view.show(text, lens.words());
    legend.element.hidden = false;
    below.hidden = false;
    paint(null);
  }

  function refuse(error) {
    const again = lens === lenses.why ? "Press Explain" : "Choose a layer";
    clear(error.name === "AbortError" ? `Stopped. ${again} to try again.` : "There is nothing to show.");
    tell(error);
  }

  function paint(word) {
    pointed = word;
    if (!lens.has(text) || !lens.words()) return;
    const picture = lens.picture(word);
    view.note(word, picture.tip);
    view.mark(picture.mark);
    view.shade(picture.values, picture.limit, picture.takes);
    view.cut(picture.read);
    legend.show(picture.takes, picture.low, picture.high);
    said.textContent = picture.said;
    element.dataset.painted = picture.name;
  }

  return {
    element,

    /** The text is being changed: what is shown is of an earlier one. */
    wait() {
      lens.stop();
      element.classList.add("stale");
    },

    /**
     * Another text.
     *
     * @param {string} given
     * @param {object} options
     * @param {boolean} options.explain ask for its explanation at once, if that is what is shown.
     * @param {boolean} [options.asked] by the button: show the explanation whatever is shown now.
     */
    show(given, { explain, asked = false }) {
      text = given;
      if (asked) turnTo("why");
      return refresh(explain || lens !== lenses.why);
    },
  };
}
