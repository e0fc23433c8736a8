// The studies: one at a time, each a thing to drag or edit.

import { make } from "../elements.js";
import { loadStylesheet } from "../stylesheet.js";

export const title = "Studies";

const VIEWS = {
  recurrence: { short: "Recurrence", load: () => import("../studies/recurrence.js") },
  copying: { short: "Copying", load: () => import("../studies/copying.js") },
  "linear-attention": { short: "Linear attention", load: () => import("../studies/linear.js") },
};

export async function render(container, context) {
  const { api, signal, study } = context;
  const [{ studies }, { createStudy }] = await Promise.all([
    api.get("/v1/studies", { signal }),
    VIEWS[study].load(),
    loadStylesheet("plots.css"),
    loadStylesheet("studies.css"),
  ]);
  const { title: name, question } = studies.find(({ id }) => id === study);
  const tabs = make(
    "nav",
    { class: "study-tabs", "aria-label": "Studies" },
    ...Object.entries(VIEWS).map(([id, { short }]) =>
      make("a", { href: `#/studies/${id}`, "aria-current": id === study ? "page" : null }, short),
    ),
  );
  container.append(tabs, make("div", { class: "head" }, make("h1", {}, name), make("p", {}, question)));
  return createStudy(container, context);
}
