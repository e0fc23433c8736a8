// The confusion matrix: every cell is a button that shows its examples.

import { make, percent } from "../elements.js";
import { grouped } from "../numbers.js";
import { rove } from "../roving.js";
import { createCases } from "./cases.js";

const A_PAGE = 24;
// Buttons by the ten thousand would make the page slow.
const MOST_CLASSES = 30;

export function createConfusion({ confusion_matrix: matrix, class_names: names }, context) {
  const classes = shownClasses(matrix);
  const { model, api, signal, tell } = context;
  const cases = createCases(context, {});
  const heading = make("h3", { tabindex: -1 });
  const count = make("p", { class: "small muted", "aria-live": "polite" });
  const more = make("button", { type: "button", class: "plain", hidden: true, onclick: () => load() }, "Show more");
  const hint = make("p", { class: "muted" }, "Choose a cell to see its examples.");
  const shown = make("div", { class: "stack cell-cases" }, hint, heading, count, cases.element, more);
  let chosen = null;
  let got = 0;
  let asking = new AbortController();

  const buttons = [];
  const rows = classes.map((truth) => {
    const whole = matrix[truth].reduce((sum, value) => sum + value, 0);
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, make("span", {}, names[truth])),
      ...classes.map((predicted) => {
        const button = cell(matrix[truth][predicted], whole, truth, predicted);
        buttons.push(button);
        return make("td", {}, button);
      }),
    );
  });
  const table = make(
    "table",
    { class: classes.length > 6 ? "confusion many" : "confusion" },
    make("caption", { class: "unseen" }, "Test examples by true class, in rows, and answer, in columns"),
    make(
      "thead",
      {},
      make("tr", {}, make("td", { class: "corner small muted" }, "true ↓ predicted →"), ...classes.map((number) => make("th", { scope: "col" }, make("span", {}, names[number])))),
    ),
    make("tbody", {}, ...rows),
  );
  rove(table, () => buttons, {
    columns: () => classes.length,
    chosen: (place) => buttons[place].click(),
  }).reset(0);

  function cell(value, whole, truth, predicted) {
    const right = truth === predicted;
    const share = whole ? value / whole : 0;
    const said = right ? `${names[truth]}, answered rightly` : `${names[truth]}, taken for ${names[predicted]}`;
    const button = make(
      "button",
      {
        type: "button",
        class: right ? "cell right" : "cell wrong",
        "aria-label": `${said}: ${grouped(value)}, ${percent(share)}`,
        "aria-pressed": "false",
        title: `${said}: ${grouped(value)} of ${grouped(whole)}`,
        onclick: () => choose(button, truth, predicted),
      },
      value ? String(value) : "·",
    );
    // Mistakes are few: a root lets even one in a hundred be seen.
    button.style.setProperty("--strength", String(right ? share : Math.min(1, Math.sqrt(share) * 1.4)));
    return button;
  }

  async function choose(button, truth, predicted) {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    chosen = { truth: names[truth], predicted: names[predicted] };
    hint.hidden = true;
    heading.textContent = truth === predicted ? names[truth] : `${names[truth]} → ${names[predicted]}`;
    cases.show([]);
    got = 0;
    await load();
  }

  async function load() {
    asking.abort();
    asking = new AbortController();
    const until = AbortSignal.any([signal, asking.signal]);
    const query = new URLSearchParams({ ...chosen, order: "confidence", offset: got, limit: A_PAGE });
    count.textContent = "Fetching…";
    try {
      const answer = await api.get(`/v1/models/${encodeURIComponent(model.id)}/examples?${query}`, { signal: until });
      cases.add(answer.examples);
      got += answer.examples.length;
      const all = `${grouped(answer.total)} example${answer.total === 1 ? "" : "s"}, the most confident first`;
      count.textContent = answer.complete ? all : `${all}; the data set is no longer on the server, so these are the ones the run kept`;
      more.hidden = got >= answer.total;
    } catch (error) {
      if (!until.aborted) {
        count.textContent = "";
        tell(error);
      }
    }
  }

  const worst = commonest(matrix);
  if (worst) {
    const [row, column] = [worst.truth, worst.predicted].map((number) => classes.indexOf(number));
    choose(buttons[row * classes.length + column], worst.truth, worst.predicted);
  }
  const left = names.length - classes.length;
  const some = left ? ` These are the ${classes.length} classes with most mistakes, of ${names.length}.` : "";
  return make(
    "section",
    { class: "panel", "aria-labelledby": "confusion-title" },
    make("h2", { id: "confusion-title" }, "Confusion"),
    make("p", { class: "muted small" }, `What it takes for what on the test set; shades are shares of a row. Choose a cell to see its examples.${some}`),
    make("div", { class: "confusion-grid" }, make("div", { class: "scroller" }, table), shown),
  );
}

/** All classes; of very many, those that have the commonest mistake or most mistakes at all. */
function shownClasses(matrix) {
  const all = [...matrix.keys()];
  if (all.length <= MOST_CLASSES) return all;
  const worst = commonest(matrix);
  const mistakes = all.map((number) =>
    number === worst?.truth || number === worst?.predicted
      ? Number.POSITIVE_INFINITY
      : all.reduce((sum, other) => sum + (other === number ? 0 : matrix[number][other] + matrix[other][number]), 0),
  );
  return all
    .toSorted((one, other) => mistakes[other] - mistakes[one] || one - other)
    .slice(0, MOST_CLASSES)
    .toSorted((one, other) => one - other);
}

/** The mistake that is made most often, if any is. */
function commonest(matrix) {
  let worst = null;
  for (const [truth, row] of matrix.entries()) {
    for (const [predicted, value] of row.entries()) {
      if (truth !== predicted && value > (worst?.value ?? 0)) worst = { truth, predicted, value };
    }
  }
  return worst;
}
