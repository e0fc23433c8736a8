// Style sheets that only one view needs, fetched with it.

import { make } from "./elements.js";

const loading = new Map();

/** Resolves once the stylesheet applies, so that nobody sees a view undressed. */
export function loadStylesheet(name) {
  if (!loading.has(name)) {
    const link = make("link", { rel: "stylesheet", href: `/page/${name}` });
    loading.set(
      name,
      new Promise((resolve) => {
        link.addEventListener("load", resolve);
        // Without its colours a view still works.
        link.addEventListener("error", resolve);
      }),
    );
    document.head.append(link);
  }
  return loading.get(name);
}
