// Elements made by hand: text becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [given] attributes; `class`, `dataset` (an object) and
 *   `on<event>` (a listener) are what they say; true gives an empty attribute, false and null none.
 * @param {...(Node | string | number | null)} children
 */
export function make(tag, given = {}, ...children) {
  return dress(document.createElement(tag), given, children);
}

/** An SVG element, likewise. */
export function draw(tag, given = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), given, children);
}

function dress(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child != null).map(asNode));
  return element;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

let made = 0;

/** An id that no other element of the page has. */
export function freshId(prefix) {
  made += 1;
  return `${prefix}-${made}`;
}

/**
 * Radio buttons that look like one row of keys.
 *
 * @param {string} legend for those who cannot see the row's place.
 * @param {{value: string, label: string, title?: string}[]} choices
 * @param {string} chosen
 * @param {(value: string) => void} changed
 * @returns {HTMLFieldSetElement} with `choose(value)`, which calls nobody.
 */
export function choiceRow(legend, choices, chosen, changed) {
  const name = freshId("choice");
  const row = make("fieldset", { class: "choices" }, make("legend", {}, legend));
  for (const { value, label, title } of choices) {
    const input = make("input", {
      type: "radio",
      name,
      value,
      checked: value === chosen,
      "aria-label": title,
      onchange: () => changed(value),
    });
    row.append(make("label", { title }, input, make("span", {}, label)));
  }
  row.choose = (value) => {
    for (const input of row.querySelectorAll("input")) input.checked = input.value === value;
  };
  return row;
}

/** A labelled select. */
export function choiceList(label, choices, chosen, changed) {
  const id = freshId("select");
  const select = make("select", { id, onchange: () => changed(select.value) });
  for (const { value, label: text } of choices) {
    select.append(make("option", { value, selected: value === chosen }, text));
  }
  return make("div", { class: "field" }, make("label", { for: id }, label), select);
}

/** A share of 1 for people: `97 %`, `0.4 %`, and 100 % only where it is all of it. */
export function percent(share, decimals) {
  const value = 100 * share;
  const places = decimals ?? (value > 0.05 && value < 9.95 ? 1 : 0);
  const text = value.toFixed(places);
  if (share < 1 && Number(text) >= 100) return `> ${(100 - 10 ** -places).toFixed(places)} %`;
  return `${text} %`;
}

/** A number with its sign, by a true minus. */
export function signed(value, decimals = 3) {
  const text = Math.abs(value).toFixed(decimals);
  return `${value < 0 ? "−" : "+"}${text}`;
}
