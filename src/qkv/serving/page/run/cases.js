// Test examples as small pictures or as the beginnings of texts, each a way to look inside.

import { make, percent } from "../elements.js";

/**
 * @param {object} context of the view.
 * @param {{wide?: boolean}} options wide: say truth and answer too.
 */
export function createCases({ model, api, signal, tell }, { wide = false }) {
  const vision = model.task === "vision";
  const base = `/v1/models/${encodeURIComponent(model.id)}/examples`;
  const home = `#/${encodeURIComponent(model.id)}/${vision ? "images" : "words"}`;
  const element = make("ul", { class: vision ? `cases pictures${wide ? " wide" : ""}` : "cases texts" });
  const addresses = new Set();
  signal.addEventListener("abort", forget);

  function forget() {
    for (const address of addresses) URL.revokeObjectURL(address);
    addresses.clear();
  }

  function place(example) {
    const { index, label, predicted } = example;
    return `${home}?${new URLSearchParams({ example: index, truth: label, predicted })}`;
  }

  function picture(example) {
    const { index, label, predicted, probability } = example;
    const right = label === predicted;
    const image = make("img", { alt: "", width: 56, height: 56, loading: "lazy" });
    const words = wide
      ? [make("span", { class: "truth" }, label), make("span", { class: "small muted" }, `taken for ${predicted}, ${percent(probability, 1).replaceAll(" ", "\u00a0")}`)]
      : [make("span", { class: "small muted" }, percent(probability, 1))];
    fetchPicture(image, example.image);
    return make(
      "li",
      {},
      make(
        "a",
        {
          href: place(example),
          class: right ? "case" : "case wrong",
          "aria-label": `Image ${index}, ${label}${right ? "" : `, taken for ${predicted}`}, ${percent(probability, 1)}: look inside`,
        },
        image,
        make("span", { class: "case-words" }, ...words),
      ),
    );
  }

  async function fetchPicture(image, address) {
    try {
      const url = URL.createObjectURL(await api.blob(address, { signal }));
      addresses.add(url);
      image.src = url;
    } catch (error) {
      tell(error);
    }
  }

  function text(example) {
    const { index, label, predicted, probability } = example;
    const words = make("p", { class: "case-text" }, example.text, example.excerpt ? "…" : null);
    const whole = make("button", { type: "button", class: "plain small", onclick: () => unfold(whole, words, index) }, "Whole text");
    return make(
      "li",
      { class: label === predicted ? "case" : "case wrong" },
      make(
        "p",
        { class: "small" },
        make("strong", {}, label),
        label === predicted ? " " : make("span", {}, " taken for ", make("strong", {}, predicted), " "),
        make("span", { class: "muted" }, `· ${percent(probability, 1)} · text ${index}`),
      ),
      words,
      make("p", { class: "row" }, example.excerpt ? whole : null, make("a", { href: place(example), class: "small" }, "Look inside")),
    );
  }

  async function unfold(button, words, index) {
    try {
      const example = await api.get(`${base}/${index}`, { signal });
      words.textContent = example.text;
      button.remove();
    } catch (error) {
      tell(error);
    }
  }

  function add(examples) {
    element.append(...examples.map(vision ? picture : text));
  }
  return {
    element,
    add,
    show: (examples) => {
      forget();
      element.replaceChildren();
      add(examples);
    },
  };
}
