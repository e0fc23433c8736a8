// Colours for numbers: even steps of lightness, so that twice as bright looks twice as much.
// The scales are computed in Oklab (Björn Ottosson 2020, "A perceptual color space for image
// processing"), with hues that stay apart under the common kinds of colour blindness.

const STEPS = 256;

function linearFromOklab(lightness, a, b) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
}

/** sRGB bytes of an Oklch colour; chroma gives way where the screen has no such colour. */
function rgb(lightness, chroma, hueDegrees) {
  const hue = (hueDegrees * Math.PI) / 180;
  for (let c = chroma; ; c -= 0.004) {
    const held = Math.max(c, 0);
    const linear = linearFromOklab(lightness, held * Math.cos(hue), held * Math.sin(hue));
    if (held === 0 || linear.every((value) => value >= -0.0005 && value <= 1.0005)) {
      return linear.map((value) => {
        const v = Math.min(Math.max(value, 0), 1);
        return Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
      });
    }
  }
}

function table(colourAt) {
  const bytes = new Uint8ClampedArray(3 * STEPS);
  for (let step = 0; step < STEPS; step += 1) bytes.set(colourAt(step / (STEPS - 1)), 3 * step);
  return bytes;
}

/** From 0 (deep violet) by rose and orange to 1 (pale yellow). */
export const SEQUENTIAL = table((t) =>
  rgb(0.16 + 0.8 * t, 0.06 + 0.17 * Math.sin(Math.PI * t ** 0.85), 292 + 172 * t),
);

/** From −1 (orange) by near black to 1 (blue). */
export const DIVERGING = table((t) => {
  const value = 2 * t - 1;
  const size = Math.abs(value);
  return rgb(0.2 + 0.58 * size, 0.16 * size, value < 0 ? 52 : 238);
});

/**
 * Numbers as the pixels of a small picture.
 *
 * @param {ArrayLike<number>} values row by row.
 * @param {number} width
 * @param {object} options
 * @param {number} options.limit the size of the largest value; it gets the end of the scale.
 * @param {boolean} options.signed whether values below 0 have a colour of their own.
 * @param {number} options.opacity of the largest value, 0 to 1; small values let more through.
 */
export function heatPixels(values, width, { limit, signed, opacity }) {
  const pixels = new ImageData(width, values.length / width);
  const colours = signed ? DIVERGING : SEQUENTIAL;
  const scale = limit > 0 ? 1 / limit : 0;
  for (let place = 0; place < values.length; place += 1) {
    const value = Math.min(Math.max(values[place] * scale, signed ? -1 : 0), 1);
    const t = signed ? (value + 1) / 2 : value;
    const colour = 3 * Math.round(t * (STEPS - 1));
    const size = Math.abs(value);
    pixels.data[4 * place] = colours[colour];
    pixels.data[4 * place + 1] = colours[colour + 1];
    pixels.data[4 * place + 2] = colours[colour + 2];
    pixels.data[4 * place + 3] = 255 * opacity * (0.25 + 0.75 * size ** 0.7);
  }
  return pixels;
}

/** The largest size among values. */
export function largest(values) {
  let limit = 0;
  for (let place = 0; place < values.length; place += 1) {
    const size = Math.abs(values[place]);
    if (size > limit) limit = size;
  }
  return limit;
}

/** Draws a scale as a strip, from left to right. */
export function paintScale(canvas, isSigned) {
  canvas.width = STEPS;
  canvas.height = 1;
  const values = Float32Array.from({ length: STEPS }, (_, step) =>
    isSigned ? (2 * step) / (STEPS - 1) - 1 : step / (STEPS - 1),
  );
  const options = { limit: 1, signed: isSigned, opacity: 1 };
  const pixels = heatPixels(values, STEPS, options);
  for (let place = 3; place < pixels.data.length; place += 4) pixels.data[place] = 255;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
