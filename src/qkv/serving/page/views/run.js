// The report of a run: what it is, how it was trained, where it errs, and how far to believe it.

import { make } from "../elements.js";
import { renderMarkdown } from "../markdown.js";
import { createCalibration } from "../run/calibration.js";
import { createCases } from "../run/cases.js";
import { createConfusion } from "../run/confusion.js";
import { createCurves } from "../run/curves.js";
import { createFacts } from "../run/facts.js";
import { createLengths } from "../run/lengths.js";
import { loadStylesheet } from "../stylesheet.js";

export const title = "Report";

const FIRST_TEXTS = 6;

export async function render(container, context) {
  const { model, api, signal } = context;
  const base = `/v1/models/${encodeURIComponent(model.id)}`;
  const [report] = await Promise.all([
    api.get(`${base}/report`, { signal }),
    loadStylesheet("plots.css"),
    loadStylesheet("run.css"),
  ]);
  const plots = [];
  container.append(
    make(
      "div",
      { class: "head" },
      make("h1", {}, model.name ?? model.id),
      make("p", {}, report.record.description || report.record.data.name),
    ),
    createFacts(report),
  );
  const drawn = make("div", { class: "run-plots" });
  const parts = make("div", { class: "run-parts" }, drawn);
  container.append(parts);
  if (report.curves.epochs.epoch?.length) drawn.append(createCurves(report, plots));
  if (report.confusion_matrix) {
    parts.prepend(createConfusion(report, context));
    drawn.append(createCalibration(report, plots));
    if (report.record.test.by_length) drawn.append(createLengths(report, plots));
    parts.append(mistakes(report, context));
  }
  if (report.card_markdown) parts.append(card(report.card_markdown));
  return () => plots.forEach((plot) => plot.stop());
}

function mistakes(report, context) {
  const cases = createCases(context, { wide: true });
  const section = make(
    "section",
    { class: "panel", "aria-labelledby": "mistakes-title" },
    make("h2", { id: "mistakes-title" }, "Most confident mistakes"),
    make("p", { class: "muted small" }, "Wrong answers by falling probability; each is worth a look at its label too."),
  );
  if (!report.mistakes.length) section.append(make("p", { class: "muted" }, "There is none."));
  else section.append(cases.element);
  // Texts are long: the first few, and the others on request.
  const first = context.model.task === "text" ? FIRST_TEXTS : report.mistakes.length;
  cases.show(report.mistakes.slice(0, first));
  const others = report.mistakes.slice(first);
  if (others.length) {
    const more = make("button", { type: "button", class: "plain", onclick: () => {
      cases.add(others);
      more.remove();
    } }, `Show ${others.length} more`);
    section.append(more);
  }
  return section;
}

function card(text) {
  return make(
    "section",
    { class: "panel card", "aria-label": "Model card" },
    make("p", { class: "kicker" }, "Model card"),
    make("div", { class: "card-text" }, renderMarkdown(text, 2)),
  );
}
