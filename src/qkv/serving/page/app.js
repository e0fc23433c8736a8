// The shell: which model, which view, and what goes wrong on the way.

import { createApi } from "./api.js";
import { make } from "./elements.js";

// A view is a module with `title` and `render(container, context)`, which may return a cleanup.
const VIEWS = {
  images: { name: "Images", load: () => import("./views/images.js") },
  words: { name: "Words", load: () => import("./views/words.js") },
  run: { name: "Report", load: () => import("./views/run.js") },
  studies: { name: "Studies", load: () => import("./views/studies.js") },
};
const STUDIES = ["recurrence", "copying", "linear-attention"];
const FIRST_VIEW = { vision: "images", text: "words" };

const main = document.getElementById("view");
const nav = document.getElementById("nav");
const select = document.getElementById("model");
const notice = document.getElementById("notice");

const api = createApi(askForKey);
const details = new Map();
let models = [];
let leave = () => {};
let first = true;

/** Show an error, or a line of text, to the user; nothing takes it away again. */
function tell(problem) {
  if (problem?.name === "AbortError") return;
  notice.textContent = problem ? (problem.message ?? String(problem)) : "";
  notice.hidden = !problem;
}

function go(hash) {
  location.hash = hash;
}

/**
 * `#/MODEL/VIEW?QUERY` or `#/studies/STUDY`; whatever is not there is filled in. A model that is
 * not served is `unknown`.
 */
function readHash() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decoded);
  const known = models.find((model) => model.id === parts[0]);
  if (parts[0] === "studies" && (STUDIES.includes(parts[1]) || !known)) {
    const study = STUDIES.includes(parts[1]) ? parts[1] : STUDIES[0];
    return { view: "studies", study, model: models[0], query: new URLSearchParams(query) };
  }
  if (parts[0] && !known) return { unknown: parts[0] };
  const model = known ?? models[0];
  const views = [FIRST_VIEW[model.task], "run"];
  const view = views.includes(parts[1]) ? parts[1] : views[0];
  return { view, study: null, model, query: new URLSearchParams(query) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // an address typed by hand may hold a lone %
  }
}

function addressOf({ id, task }, view = FIRST_VIEW[task]) {
  return `#/${encodeURIComponent(id)}/${view}`;
}

function showNav({ view, model }) {
  const entries = [FIRST_VIEW[model.task], "run"].map((name) => [name, addressOf(model, name)]);
  entries.push(["studies", `#/studies/${STUDIES[0]}`]);
  nav.replaceChildren(
    ...entries.map(([name, href]) =>
      make("a", { href, "aria-current": name === view ? "page" : null }, VIEWS[name].name),
    ),
  );
  select.value = model.id;
}

/** In place of a view: which models there are. */
function showModels(unknown) {
  nav.replaceChildren();
  select.value = "";
  tell(`This server has no model “${unknown}”; choose one that it has`);
  const links = models.map((model) =>
    make("li", {}, make("a", { href: addressOf(model) }, model.name ?? model.id)),
  );
  main.replaceChildren(make("div", { class: "view" }, make("h1", {}, "Models"), make("ul", { class: "models" }, ...links)));
  document.title = "Models · qkv";
  first = false;
}

async function show() {
  leave();
  const leaving = new AbortController();
  let cleanup = null;
  leave = () => {
    leaving.abort();
    cleanup?.();
  };
  const { signal } = leaving;
  const place = readHash();
  if (place.unknown) {
    showModels(place.unknown);
    return;
  }
  tell(null);
  showNav(place);
  try {
    const [module, model] = await Promise.all([VIEWS[place.view].load(), detail(place.model.id)]);
    if (signal.aborted) return;
    const container = make("div", { class: `view view-${place.view}` });
    main.replaceChildren(container);
    document.title = `${module.title} · ${place.study ?? model.name ?? model.id} · qkv`;
    if (!first) main.focus({ preventScroll: true });
    first = false;
    const { study, query } = place;
    const context = { model, models, api, signal, go, tell, study, query };
    const given = await module.render(container, context);
    if (signal.aborted) given?.();
    else cleanup = given;
  } catch (error) {
    if (signal.aborted) return;
    tell(error);
    main.querySelector(".waiting")?.remove();
    // One console line with the stack for whoever mends the page; the user has the notice.
    if (error.name !== "ApiError") console.error(error);
  }
}

async function detail(id) {
  if (!details.has(id)) details.set(id, await api.get(`/v1/models/${encodeURIComponent(id)}`));
  return details.get(id);
}

function askForKey(refused) {
  const dialog = document.getElementById("key");
  const field = document.getElementById("key-value");
  document.getElementById("key-cancel").onclick = () => dialog.close("");
  document.getElementById("key-refused").hidden = !refused;
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "ok" ? field.value.trim() : null),
      { once: true },
    );
  });
}

function setUpTheme() {
  const button = document.getElementById("theme");
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const mark = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    mark();
    // Canvases hold colours that style sheets cannot change.
    window.dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    mark();
    window.dispatchEvent(new Event("themechange"));
  });
  mark();
}

function setUpSkipLink() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    // Its own address would be taken for that of a model.
    event.preventDefault();
    main.focus();
  });
}

async function start() {
  setUpTheme();
  setUpSkipLink();
  try {
    models = (await api.get("/v1/models")).models;
  } catch (error) {
    main.replaceChildren();
    tell(error);
    return;
  }
  for (const model of models) select.append(make("option", { value: model.id }, model.name ?? model.id));
  select.closest("label").hidden = models.length < 2;
  select.addEventListener("change", () => {
    const { view } = readHash();
    const model = models.find(({ id }) => id === select.value);
    go(addressOf(model, view === "run" ? view : undefined));
  });
  window.addEventListener("hashchange", show);
  // A promise that nobody awaited has failed, in a listener of a view: the user is told of it too.
  window.addEventListener("unhandledrejection", (event) => {
    if (event.reason?.name === "AbortError" || event.reason?.name === "ApiError") {
      event.preventDefault();
      tell(event.reason);
    }
  });
  await show();
}

start();
