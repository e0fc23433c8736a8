// A plot with two axes, drawn anew at the width it has, so that its letters stay readable.

import { draw, make } from "./elements.js";

const LEFT = 52;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 44;
const LINE = 15;
// Width of a digit of 12 px, about.
const LETTER = 7;

/**
 * A scale from values to places.
 *
 * @param {{domain: [number, number], log?: boolean}} axis
 * @param {number} from place of the first end.
 * @param {number} to place of the other.
 */
function scaleOf({ domain: [low, high], log = false }, from, to) {
  const at = log ? Math.log10 : (value) => value;
  const span = at(high) - at(low) || 1;
  const scale = (value) => from + ((at(value) - at(low)) / span) * (to - from);
  scale.value = (place) => {
    const inner = at(low) + ((place - from) / (to - from)) * span;
    return log ? 10 ** inner : inner;
  };
  return scale;
}

/** Round numbers that divide a linear axis into about `count` parts. */
export function roundTicks([low, high], count = 5) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) {
    ticks.push(Number(value.toPrecision(12)));
  }
  return ticks;
}

/**
 * @typedef {object} Axis
 * @property {string} label with its unit.
 * @property {[number, number]} domain
 * @property {boolean} [log]
 * @property {number[]} [ticks] round numbers unless given.
 * @property {(value: number) => string} [format]
 * @property {(value: number) => string} [second] of the x axis: a second line below each tick.
 *
 * @typedef {object} Series
 * @property {string} name
 * @property {"one" | "two" | "three" | "faint"} tone
 * @property {"line" | "dots" | "bars"} [kind]
 * @property {boolean} [dashed]
 * @property {boolean} [strong] of bars: in full colour.
 * @property {[number, number][]} points of bars: [left, right, value].
 */

/**
 * @param {object} options
 * @param {string} options.label what it shows, for those who cannot see it.
 * @param {number} [options.height] pixels.
 * @param {(x: number) => string | null} [options.read] says what lies at a place pointed at.
 * @param {(x: number) => void} [options.dragged] a place was pressed or dragged to.
 */
export function createPlot({ label, height = 270, read, dragged }) {
  const svg = draw("svg", { class: "plot", role: "img", "aria-label": label, height });
  const legend = make("ul", { class: "legend small" });
  const said = make("p", { class: "reading small muted", "aria-hidden": "true" });
  const element = make("div", { class: "plot-box" }, legend, svg, read ? said : null);
  const clip = `clip-${Math.random().toString(36).slice(2)}`;
  let width = 0;
  let shown = null;
  let scaleX = null;

  const watcher = new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now !== width && now > 0) {
      width = now;
      paint();
    }
  });
  watcher.observe(element);

  /** @param {{x: Axis, y: Axis, series: Series[], marks?: object[]}} what */
  function show(what) {
    shown = what;
    legend.replaceChildren(
      ...what.series.filter(({ name }) => name).map(({ name, tone, kind = "line", dashed }) =>
        make("li", { class: `tone-${tone}` }, sample(kind, dashed), name),
      ),
    );
    paint();
  }

  function paint() {
    if (!shown || !width) return;
    const { x, y, series, marks = [] } = shown;
    const right = width - RIGHT;
    const bottom = height - BOTTOM - (x.second ? LINE : 0);
    scaleX = scaleOf(x, LEFT, right);
    const scaleY = scaleOf(y, bottom, TOP);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(
      draw("clipPath", { id: clip }, draw("rect", { x: LEFT, y: TOP - 6, width: right - LEFT, height: bottom - TOP + 12 })),
      ...across(y, scaleY, right),
      ...along(x, scaleX, bottom, right),
      draw(
        "g",
        { "clip-path": `url(#${clip})` },
        ...series.flatMap((one) => curve(one, scaleX, scaleY, bottom)),
      ),
      ...marks.flatMap((mark) => marked(mark, scaleX, scaleY, bottom, right)),
    );
  }

  function place(event) {
    const box = svg.getBoundingClientRect();
    const at = Math.min(Math.max(event.clientX - box.left, LEFT), width - RIGHT);
    return scaleX.value(at);
  }

  if (read) {
    svg.addEventListener("pointermove", (event) => {
      if (scaleX) said.textContent = read(place(event)) ?? "";
    });
    svg.addEventListener("pointerleave", () => { said.textContent = ""; });
  }
  if (dragged) {
    svg.classList.add("draggable");
    svg.addEventListener("pointerdown", (event) => {
      svg.setPointerCapture(event.pointerId);
      dragged(place(event));
    });
    svg.addEventListener("pointermove", (event) => {
      if (svg.hasPointerCapture(event.pointerId)) dragged(place(event));
    });
  }
  return { element, show, stop: () => watcher.disconnect() };
}

function sample(kind, dashed) {
  const line = kind === "line";
  return draw(
    "svg",
    { width: 22, height: 10, "aria-hidden": "true" },
    line
      ? draw("line", { x1: 1, x2: 21, y1: 5, y2: 5, class: dashed ? "curve dashed" : "curve" })
      : draw("circle", { cx: 11, cy: 5, r: 4, class: "dot" }),
  );
}

function across(y, scaleY, right) {
  const format = y.format ?? String;
  const ticks = y.ticks ?? roundTicks(y.domain);
  return [
    ...ticks.flatMap((tick) => {
      const at = scaleY(tick);
      return [
        draw("line", { class: "grid", x1: LEFT, x2: right, y1: at, y2: at }),
        draw("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, format(tick)),
      ];
    }),
  ];
}

function along(x, scaleX, bottom, right) {
  const format = x.format ?? String;
  const ticks = x.ticks ?? roundTicks(x.domain);
  return [
    draw("line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom }),
    ...ticks.filter(roomy(scaleX, format)).flatMap((tick) => {
      const at = scaleX(tick);
      return [
        draw("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 4 }),
        draw("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, format(tick)),
        ...(x.second ? [draw("text", { x: at, y: bottom + 18 + LINE, "text-anchor": "middle" }, x.second(tick))] : []),
      ];
    }),
    draw("text", { class: "axis-label", x: (LEFT + right) / 2, y: bottom + 38 + (x.second ? LINE : 0), "text-anchor": "middle" }, x.label),
  ];
}

/** Keeps the ticks whose words do not run into those before them. */
function roomy(scaleX, format) {
  let taken = Number.NEGATIVE_INFINITY;
  return (tick) => {
    const half = (LETTER * format(tick).length) / 2;
    const at = scaleX(tick);
    if (at - half < taken + LETTER) return false;
    taken = at + half;
    return true;
  };
}

function curve({ tone, kind = "line", dashed, strong, points }, scaleX, scaleY, bottom) {
  const known = points.filter((point) => point.every((value) => value != null));
  if (kind === "bars") {
    // From zero, where zero is in sight.
    const ground = Math.min(scaleY(0), bottom);
    return known.map(([left, end, value]) => {
      const top = scaleY(value);
      return draw("rect", {
        class: `bar tone-${tone}${strong ? " strong" : ""}`,
        x: scaleX(left) + 1,
        width: Math.max(scaleX(end) - scaleX(left) - 2, 1),
        y: Math.min(top, ground),
        height: Math.max(Math.abs(ground - top), 1),
      });
    });
  }
  if (kind === "dots") {
    return known.map(([x, y]) =>
      draw("circle", { class: `dot tone-${tone}`, cx: scaleX(x), cy: scaleY(y), r: 4.5 }),
    );
  }
  const path = known.map(([x, y], place) => `${place ? "L" : "M"}${scaleX(x).toFixed(1)} ${scaleY(y).toFixed(1)}`);
  const line = draw("path", {
    class: `curve tone-${tone}${dashed ? " dashed" : ""}`,
    d: path.join(""),
  });
  // Few points are measurements: each is seen by itself.
  const dots = known.length <= 12 && tone !== "faint" && !dashed;
  return [
    line,
    ...(dots
      ? known.map(([x, y]) => draw("circle", { class: `dot tone-${tone}`, cx: scaleX(x), cy: scaleY(y), r: 3 }))
      : []),
  ];
}

/** A mark: an upright line at x, or a ring at (x, y), with a few words. */
function marked({ x, y, text, tone = "ink", above = false, centred = false }, scaleX, scaleY, bottom, right) {
  const at = scaleX(x);
  if (at < LEFT - 1 || at > right + 1) return [];
  const upright = y == null;
  const end = at > (LEFT + right) / 2;
  const parts = upright
    ? [draw("line", { class: `mark tone-${tone}`, x1: at, x2: at, y1: TOP - 6, y2: bottom })]
    : [draw("circle", { class: `ring tone-${tone}`, cx: at, cy: scaleY(y), r: 6 })];
  if (text) {
    parts.push(
      draw(
        "text",
        {
          class: "mark-text",
          x: centred ? at : at + (end ? -10 : 10),
          y: upright ? TOP + 6 : scaleY(y) + (above || (end && !centred) ? -11 : 20),
          "text-anchor": centred ? "middle" : end ? "end" : "start",
        },
        text,
      ),
    );
  }
  return parts;
}
