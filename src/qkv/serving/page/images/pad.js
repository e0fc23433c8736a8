// A pad to draw on, as many pixels a side as the model reads.

import { choiceRow, freshId, make } from "../elements.js";
import { blank, pngOf } from "./pictures.js";

const LIVE_MILLISECONDS = 120;
// A brush of this radius on 28 pixels draws about as thick as a garment's sleeve.
const RADIUS = 1.5 / 28;

/**
 * @param {{image_size: number, channels: number}} input of the model.
 * @param {(blob: Blob, canvas: HTMLCanvasElement, done: boolean) => void} drawn gets the drawing
 *   while it grows and, with `done`, once a stroke has ended.
 */
export function createPad({ image_size: size, channels }, drawn) {
  const canvas = blank(size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const help = freshId("pad-help");
  const radius = Math.max(RADIUS * size, 1);
  let erasing = false;
  let colour = [255, 255, 255];
  let last = null;
  let brush = { x: Math.floor(size / 2), y: Math.floor(size / 2) };
  let waiting = 0;
  let touched = false;

  canvas.className = "pad";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `Drawing pad, ${size} by ${size} pixels`);
  canvas.setAttribute("aria-describedby", help);
  const cursor = make("div", { class: "pad-cursor", "aria-hidden": "true" });
  const said = make("p", { class: "unseen", "aria-live": "polite" });

  /** A soft round dab; paint never darkens what is there. */
  function dab(x, y) {
    const reach = Math.ceil(radius + 1);
    const [left, top] = [Math.floor(x) - reach, Math.floor(y) - reach];
    const side = 2 * reach + 1;
    const pixels = context.getImageData(left, top, side, side);
    for (let place = 0; place < side * side; place += 1) {
      const dx = left + (place % side) + 0.5 - x;
      const dy = top + Math.floor(place / side) + 0.5 - y;
      const share = Math.min(Math.max(radius + 0.5 - Math.hypot(dx, dy), 0), 1);
      for (let part = 0; part < 3; part += 1) {
        const here = pixels.data[4 * place + part];
        const goal = erasing ? here * (1 - share) : here + (colour[part] - here) * share;
        pixels.data[4 * place + part] =
          channels === 1 && !erasing ? Math.max(here, colour[part] * share) : goal;
      }
      pixels.data[4 * place + 3] = 255;
    }
    context.putImageData(pixels, left, top);
  }

  function stroke(from, to) {
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    const dabs = Math.max(Math.ceil(length / (radius / 2)), 1);
    for (let step = 1; step <= dabs; step += 1) {
      const share = step / dabs;
      dab(from.x + (to.x - from.x) * share, from.y + (to.y - from.y) * share);
    }
  }

  async function give(done) {
    clearTimeout(waiting);
    waiting = 0;
    touched = true;
    drawn(await pngOf(canvas), canvas, done);
  }

  /** The drawing while it grows, not more often than an answer takes. */
  function giveSoon() {
    if (!waiting) waiting = setTimeout(give, LIVE_MILLISECONDS, false);
  }

  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * size,
      y: ((event.clientY - box.top) / box.height) * size,
    };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = placeOf(event);
    dab(last.x, last.y);
    giveSoon();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const move of moves.length ? moves : [event]) {
      const place = placeOf(move);
      stroke(last, place);
      last = place;
    }
    giveSoon();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (last) give(true);
      last = null;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 4 : 1;
    const moves = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    };
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      brush = { x: within(brush.x + dx), y: within(brush.y + dy) };
      showCursor();
      said.textContent = `column ${brush.x + 1}, row ${brush.y + 1}`;
    } else if (event.key === " ") {
      dab(brush.x + 0.5, brush.y + 0.5);
      said.textContent = erasing ? "erased" : "painted";
      give(true);
    } else if (event.key === "Delete" || event.key === "Backspace") clear();
    else return;
    event.preventDefault();
  });
  const within = (value) => Math.min(Math.max(value, 0), size - 1);

  function showCursor() {
    cursor.style.left = `${(100 * brush.x) / size}%`;
    cursor.style.top = `${(100 * brush.y) / size}%`;
    cursor.style.width = `${100 / size}%`;
    cursor.style.height = `${100 / size}%`;
  }

  function clear() {
    context.fillStyle = "#000";
    context.fillRect(0, 0, size, size);
    said.textContent = "cleared";
    give(true);
  }

  showCursor();
  const tools = choiceRow(
    "Brush",
    [
      { value: "paint", label: "Paint" },
      { value: "erase", label: "Erase" },
    ],
    "paint",
    (value) => { erasing = value === "erase"; },
  );
  const controls = make("div", { class: "row bottom" }, tools);
  if (channels === 3) controls.append(colourField((value) => { colour = value; }));
  controls.append(make("button", { type: "button", class: "plain", onclick: clear }, "Clear"));
  const element = make(
    "div",
    { class: "stack" },
    make("div", { class: "pad-frame" }, canvas, cursor),
    controls,
    make(
      "p",
      { class: "small muted", id: help },
      "Draw with the pointer, or with arrow keys and the space bar; Delete clears.",
    ),
    said,
  );
  return {
    element,
    /** Goes on from a picture. @param {HTMLCanvasElement} square */
    take(square) {
      context.drawImage(square, 0, 0, size, size);
      touched = true;
    },
    /** The drawing once more, unless nothing was ever drawn. */
    give() {
      if (touched) give(true);
    },
  };
}

function colourField(changed) {
  const id = freshId("colour");
  const input = make("input", {
    type: "color",
    id,
    value: "#ffffff",
    oninput: () => {
      const value = Number.parseInt(input.value.slice(1), 16);
      changed([value >> 16, (value >> 8) & 255, value & 255]);
    },
  });
  return make("div", { class: "field" }, make("label", { for: id }, "Colour"), input);
}
