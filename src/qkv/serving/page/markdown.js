// Markdown to elements: headings, paragraphs, lists, tables, code and links. Text stays text, so
// nothing in a card can become markup; pictures are left out, since the page draws its own.

import { make } from "./elements.js";

const SPANS = /(`+)(.+?)\1|!\[[^\]]*\]\([^)]*\)|\[([^\]]+)\]\(([^)\s]+)\)|\*\*(.+?)\*\*|\*(.+?)\*/gs;

/**
 * @param {string} text
 * @param {number} top the level that the first heading level gets.
 * @returns {DocumentFragment}
 */
export function renderMarkdown(text, top = 2) {
  const out = document.createDocumentFragment();
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  let place = 0;
  while (place < lines.length) {
    const [made, next] = block(lines, place, top);
    if (made) out.append(made);
    place = next;
  }
  return out;
}

function block(lines, start, top) {
  const line = lines[start];
  if (!line.trim()) return [null, start + 1];
  if (line.startsWith("```")) return code(lines, start);
  const heading = /^(#{1,6})\s+(.*)$/.exec(line);
  if (heading) {
    const level = Math.min(heading[1].length + top - 1, 6);
    return [make(`h${level}`, {}, ...spans(heading[2])), start + 1];
  }
  if (isRow(line) && /^\s*\|?[\s:|-]+\|?\s*$/.test(lines[start + 1] ?? "") && lines[start + 1].includes("-")) {
    return table(lines, start);
  }
  if (/^\s*([-*]|\d+\.)\s+/.test(line)) return list(lines, start);
  let end = start;
  while (end < lines.length && lines[end].trim() && (end === start || !begins(lines[end]))) end += 1;
  const words = spans(lines.slice(start, end).join(" "));
  return [words.length ? make("p", {}, ...words) : null, end];
}

function begins(line) {
  return line.startsWith("```") || /^#{1,6}\s/.test(line) || /^\s*([-*]|\d+\.)\s+/.test(line) || isRow(line);
}

function code(lines, start) {
  let end = start + 1;
  while (end < lines.length && !lines[end].startsWith("```")) end += 1;
  const text = lines.slice(start + 1, end).join("\n");
  // Whatever scrolls must be reachable by keyboard.
  return [make("pre", { tabindex: 0, role: "region", "aria-label": "Code" }, make("code", {}, text)), end + 1];
}

function list(lines, start) {
  const ordered = /^\s*\d/.test(lines[start]);
  const items = [];
  let end = start;
  while (end < lines.length && lines[end].trim()) {
    const item = /^\s*(?:[-*]|\d+\.)\s+(.*)$/.exec(lines[end]);
    if (item) items.push(item[1]);
    else if (begins(lines[end])) break;
    else items[items.length - 1] += ` ${lines[end].trim()}`;
    end += 1;
  }
  return [make(ordered ? "ol" : "ul", {}, ...items.map((item) => make("li", {}, ...spans(item)))), end];
}

function isRow(line) {
  return line.trimStart().startsWith("|");
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function table(lines, start) {
  const columns = cells(lines[start]);
  let end = start + 2;
  const rows = [];
  for (; end < lines.length && isRow(lines[end]); end += 1) rows.push(cells(lines[end]));
  const numeric = (cell) => /^[-+−]?[\d.,]+\s*%?$/.test(cell ?? "");
  const head = make("tr", {}, ...columns.map((cell) => make("th", { scope: "col" }, ...spans(cell))));
  const body = rows.map((row) =>
    make(
      "tr",
      {},
      ...columns.map((_, column) =>
        make("td", { class: numeric(row[column]) ? "right" : null }, ...spans(row[column] ?? "")),
      ),
    ),
  );
  const made = make("table", { class: "facts-table" }, make("thead", {}, head), make("tbody", {}, ...body));
  return [make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Table" }, made), end];
}

function spans(text) {
  const out = [];
  let from = 0;
  for (const match of text.matchAll(SPANS)) {
    if (match.index > from) out.push(text.slice(from, match.index));
    const [whole, ticks, inCode, words, address, strong, weak] = match;
    if (ticks) out.push(make("code", {}, inCode));
    else if (words) out.push(link(words, address));
    else if (strong) out.push(make("strong", {}, ...spans(strong)));
    else if (weak) out.push(make("em", {}, ...spans(weak)));
    from = match.index + whole.length;
  }
  if (from < text.length) out.push(text.slice(from));
  return out.filter((part) => part !== "");
}

/** Only addresses of the web become links: a card may come from anyone. */
function link(words, address) {
  if (!/^https?:\/\//i.test(address)) return words;
  return make("a", { href: address, rel: "noreferrer noopener", target: "_blank" }, words);
}
