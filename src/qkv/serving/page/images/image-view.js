// An image as its patches: a canvas below, and one cell a patch above it for pointer and keys.

import { make } from "../elements.js";
import { heatPixels } from "../heatmap.js";
import { rove } from "../roving.js";

const RESOLUTION = 896; // device pixels along a side; a multiple of the usual grids

/**
 * @param {object} options
 * @param {string} options.label what the image is, for a screen reader.
 * @param {number} options.grid patches along a side.
 * @param {(patch: number) => string} options.describe a patch in words.
 * @param {(patch: number | null) => void} options.pointed the patch below the pointer or with focus.
 * @param {(patch: number) => void} [options.pinned] a patch that was clicked.
 */
export function createImageView({ label, grid, describe, pointed, pinned = () => {} }) {
  const canvas = make("canvas", { width: RESOLUTION, height: RESOLUTION, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const cells = [];
  const table = make("div", { class: "patches", role: "grid", "aria-label": label });
  table.style.gridTemplateColumns = `repeat(${grid}, 1fr)`;
  for (let row = 0; row < grid; row += 1) {
    const line = make("div", { role: "row" });
    for (let column = 0; column < grid; column += 1) {
      const patch = cells.length;
      const cell = make("div", { role: "gridcell", tabindex: patch ? -1 : 0 });
      cell.dataset.patch = patch;
      cell.setAttribute("aria-label", describe(patch));
      cells.push(cell);
      line.append(cell);
    }
    table.append(line);
  }
  const element = make("div", { class: "image-view" }, canvas, table);

  let image = null;
  let heatmap = null;
  let marked = null;
  const small = document.createElement("canvas");

  function paint() {
    context.globalCompositeOperation = "source-over";
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, RESOLUTION, RESOLUTION);
    if (image) context.drawImage(image, 0, 0, RESOLUTION, RESOLUTION);
    if (heatmap) {
      const pixels = heatPixels(heatmap.values, heatmap.width, heatmap);
      small.width = pixels.width;
      small.height = pixels.height;
      small.getContext("2d").putImageData(pixels, 0, 0);
      context.imageSmoothingEnabled = heatmap.smooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(small, 0, 0, RESOLUTION, RESOLUTION);
    }
    paintLines();
    if (marked !== null) paintMark(marked);
  }

  function paintLines() {
    const step = RESOLUTION / grid;
    context.strokeStyle = "rgb(255 255 255 / 11%)";
    context.lineWidth = 1.5;
    context.beginPath();
    for (let line = 1; line < grid; line += 1) {
      context.moveTo(line * step, 0);
      context.lineTo(line * step, RESOLUTION);
      context.moveTo(0, line * step);
      context.lineTo(RESOLUTION, line * step);
    }
    context.stroke();
  }

  function paintMark(patch) {
    const step = RESOLUTION / grid;
    const x = (patch % grid) * step;
    const y = Math.floor(patch / grid) * step;
    // White within black stands out on every colour of a heatmap.
    context.lineWidth = 10;
    context.strokeStyle = "#000";
    context.strokeRect(x + 1, y + 1, step - 2, step - 2);
    context.lineWidth = 5;
    context.strokeStyle = "#fff";
    context.strokeRect(x + 1, y + 1, step - 2, step - 2);
  }

  const patchOf = (event) => {
    const cell = event.target.closest?.("[data-patch]");
    return cell ? Number(cell.dataset.patch) : null;
  };
  table.addEventListener("pointerover", (event) => pointed(patchOf(event)));
  table.addEventListener("pointerleave", () => {
    const focused = cells.indexOf(document.activeElement);
    pointed(focused >= 0 && cells[focused].matches(":focus-visible") ? focused : null);
  });
  table.addEventListener("focusin", (event) => {
    if (event.target.matches(":focus-visible")) pointed(patchOf(event));
  });
  table.addEventListener("focusout", () => pointed(null));
  table.addEventListener("click", (event) => {
    const patch = patchOf(event);
    if (patch !== null) pinned(patch);
  });
  rove(table, () => cells, {
    columns: () => grid,
    chosen: pinned,
    left: () => pinned(null),
  });

  return {
    element,
    /** The image below. @param {CanvasImageSource | null} given */
    show(given) {
      image = given;
      paint();
    },
    /**
     * The heatmap above it, or null for none.
     *
     * @param {{values: ArrayLike<number>, width: number, limit: number, signed: boolean,
     *   opacity: number, smooth: boolean} | null} given
     * @param {number | null} mark a patch to frame.
     */
    shade(given, mark = null) {
      heatmap = given;
      marked = mark;
      paint();
    },
  };
}

/** `row 2, column 5`, counted from 1. */
export function placeOf(patch, grid) {
  return `row ${Math.floor(patch / grid) + 1}, column ${(patch % grid) + 1}`;
}
