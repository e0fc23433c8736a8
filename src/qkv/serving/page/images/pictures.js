// From whatever the user gave to the square of pixels that is shown.

/**
 * The middle square of a picture at the model's size, about as the model reads it; null where
 * the browser cannot decode what the server perhaps can.
 *
 * @param {Blob} blob
 * @param {{image_size: number, channels: number}} input
 * @returns {Promise<HTMLCanvasElement | null>}
 */
export async function squareOf(blob, { image_size: size, channels }) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return null;
  }
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = blank(size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  const left = (bitmap.width - side) / 2;
  const top = (bitmap.height - side) / 2;
  context.drawImage(bitmap, left, top, side, side, 0, 0, size, size);
  bitmap.close();
  if (channels === 1) makeGrey(context, size);
  return canvas;
}

/** What the model saw, from the pixels of an explanation. */
export function squareFromPixels(rows) {
  const size = rows.length;
  const canvas = blank(size);
  const pixels = new ImageData(size, size);
  for (const [y, row] of rows.entries()) {
    for (const [x, value] of row.entries()) {
      const [red, green, blue] = Array.isArray(value) ? value : [value, value, value];
      pixels.data.set([red, green, blue, 255], 4 * (y * size + x));
    }
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** A black square. */
export function blank(size) {
  const canvas = document.createElement("canvas");
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, size, size);
  return canvas;
}

/** A canvas as a PNG file. */
export function pngOf(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function makeGrey(context, size) {
  const pixels = context.getImageData(0, 0, size, size);
  const { data } = pixels;
  for (let place = 0; place < data.length; place += 4) {
    const grey = 0.299 * data[place] + 0.587 * data[place + 1] + 0.114 * data[place + 2];
    data.fill(grey, place, place + 3);
  }
  context.putImageData(pixels, 0, 0);
}
