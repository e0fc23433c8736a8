// A text as its words: each can be pointed at, reached by keys, and shaded.

import { make } from "../elements.js";
import { rove } from "../roving.js";

const LEVELS = 40;

// Of attention most is small beside a word or two: below 1, so that it can be seen at all.
const BEND = 0.6;

/**
 * How strong a shade is, 0 to 1, for a value among values up to a limit. The legend is drawn by
 * this as well.
 */
export function strength(value, limit, takes) {
  const share = limit > 0 ? Math.min(Math.abs(value) / limit, 1) : 0;
  return takes ? share ** BEND : share;
}

/**
 * @param {object} listeners
 * @param {(word: number | null) => void} listeners.pointed below the pointer, or with focus.
 * @param {(word: number | null) => void} listeners.pinned clicked or chosen by Enter.
 */
export function createTextView({ pointed, pinned }) {
  const tip = make("span", { class: "tip", "aria-hidden": "true", hidden: true });
  const line = make("div", { class: "words" });
  const element = make("div", { class: "words-place" }, line, tip);
  const places = new Map();
  let spans = [];
  let levels = new Int8Array(0);
  let shown = null;
  let marked = null;

  const wordOf = (event) => places.get(event.target.closest?.(".word")) ?? null;
  line.addEventListener("pointerover", (event) => {
    // Between two words the earlier one stays, or the colours would flicker.
    const word = wordOf(event);
    if (word !== null) pointed(word);
  });
  line.addEventListener("pointerleave", (event) => {
    // A finger that is lifted has left as well; what it touched stays until it touches elsewhere.
    if (event.pointerType === "touch") return;
    const focused = places.get(document.activeElement);
    pointed(focused !== undefined && spans[focused].matches(":focus-visible") ? focused : null);
  });
  line.addEventListener("focusin", (event) => {
    if (event.target.matches(":focus-visible")) pointed(wordOf(event));
  });
  line.addEventListener("focusout", (event) => {
    if (!line.contains(event.relatedTarget)) pointed(null);
  });
  line.addEventListener("click", (event) => pinned(wordOf(event)));
  line.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const here = places.get(event.target);
    if (!by || here === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    // Lines hold different numbers of words: up and down are by what stands where.
    event.preventDefault();
    event.stopImmediatePropagation();
    const next = beyond(here, by);
    if (next !== null) stops.focus(next);
  });
  const stops = rove(line, () => spans, {
    columns: () => 1,
    chosen: pinned,
    left: () => pinned(null),
  });

  /** The nearest word on the next line, or the one before. */
  function beyond(here, by) {
    const { left, width, top } = spans[here].getBoundingClientRect();
    const middle = left + width / 2;
    let found = null;
    let row = null;
    let nearest = Infinity;
    for (let place = here + by; place >= 0 && place < spans.length; place += by) {
      const box = spans[place].getBoundingClientRect();
      if (Math.abs(box.top - top) < box.height / 2) continue;
      row ??= box.top;
      if (Math.abs(box.top - row) > box.height / 2) break;
      const away = Math.abs(box.left + box.width / 2 - middle);
      if (away < nearest) [found, nearest] = [place, away];
    }
    return found;
  }

  /** Where words stand is told in characters; JavaScript's strings count some of them twice. */
  function build(text, words) {
    const letters = Array.from(text);
    const parts = [];
    let end = 0;
    for (const word of words) {
      if (word.start > end) parts.push(letters.slice(end, word.start).join(""));
      const span = make(
        "span",
        { class: "word shade", role: "option", tabindex: -1, "aria-selected": "false" },
        letters.slice(word.start, word.end).join(""),
      );
      places.set(span, spans.length);
      spans.push(span);
      parts.push(span);
      end = word.end;
    }
    if (end < letters.length) parts.push(letters.slice(end).join(""));
    line.replaceChildren(...parts);
  }

  function same(text, words) {
    return (
      shown?.text === text &&
      shown.words?.length === words?.length &&
      (words ?? []).every(({ start }, place) => start === shown.words[place].start)
    );
  }

  return {
    element,

    /**
     * Another text. Without words it is only text.
     *
     * @param {string} text
     * @param {{text: string, start: number, end: number}[] | null} words
     */
    show(text, words) {
      if (same(text, words)) return;
      shown = { text, words };
      spans = [];
      places.clear();
      marked = null;
      tip.hidden = true;
      levels = new Int8Array(words?.length ?? 0);
      if (!words?.length) {
        line.removeAttribute("role");
        line.removeAttribute("aria-label");
        line.replaceChildren(text);
        return;
      }
      line.setAttribute("role", "listbox");
      line.setAttribute("aria-label", "Words of the text");
      build(text, words);
      stops.reset(0);
    },

    /**
     * Shades the words by their values; only what changes is touched.
     *
     * @param {ArrayLike<number>} values one a word; later words have none.
     * @param {number} limit the size of a value with the full shade.
     * @param {boolean} takes shares that are taken, rather than what speaks for and against.
     */
    shade(values, limit, takes) {
      line.classList.toggle("takes", takes);
      for (let place = 0; place < spans.length; place += 1) {
        const value = values[place] ?? 0;
        const level = Math.round(LEVELS * strength(value, limit, takes)) * (value < 0 ? -1 : 1);
        if (level === levels[place]) continue;
        const { classList, style } = spans[place];
        if (level < 0 !== levels[place] < 0) classList.toggle("against", level < 0);
        style.setProperty("--strength", String(Math.abs(level) / LEVELS));
        levels[place] = level;
      }
    },

    /** Frames a word, or none. */
    mark(word) {
      if (word === marked) return;
      for (const [place, on] of [[marked, false], [word, true]]) {
        if (place === null || !spans[place]) continue;
        spans[place].classList.toggle("marked", on);
        spans[place].setAttribute("aria-selected", String(on));
      }
      marked = word;
    },

    /** Words from this one on are not read by the model. */
    cut(read) {
      for (const [place, span] of spans.entries()) span.classList.toggle("unread", place >= read);
    },

    /** A line beside a word, or none. */
    note(word, text) {
      if (word === null || !text || !spans[word]) {
        tip.hidden = true;
        return;
      }
      const own = spans[word].getClientRects()[0];
      const all = element.getBoundingClientRect();
      tip.hidden = false;
      if (tip.textContent !== text) tip.textContent = text;
      const middle = own.left + own.width / 2 - all.left;
      const half = tip.offsetWidth / 2;
      tip.style.left = `${Math.min(Math.max(middle, half), all.width - half)}px`;
      tip.style.top = `${own.top - all.top}px`;
    },
  };
}
