// Attention as the server sends it: a whole matrix at once, so that pointing at things asks nobody.

/**
 * @typedef {{rows: number, columns: number, values: Float32Array}} Matrix
 */

/** Little-endian float16 in base64, as numbers. */
export function decodeHalves(text) {
  const binary = atob(text);
  const view = new DataView(new ArrayBuffer(binary.length));
  for (let place = 0; place < binary.length; place += 1) {
    view.setUint8(place, binary.charCodeAt(place));
  }
  const values = new Float32Array(binary.length / 2);
  for (let place = 0; place < values.length; place += 1) {
    values[place] = half(view.getUint16(2 * place, true));
  }
  return values;
}

function half(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size =
    exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31
        ? Number.POSITIVE_INFINITY
        : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

/**
 * @param {string | number[][]} given base64 halves, or rows of numbers.
 * @param {number} columns of what is given as text.
 * @returns {Matrix}
 */
export function matrixOf(given, columns) {
  if (typeof given === "string") {
    const values = decodeHalves(given);
    return { rows: values.length / columns, columns, values };
  }
  return {
    rows: given.length,
    columns: given[0].length,
    values: Float32Array.from(given.flat()),
  };
}

/** A row, without a copy. */
export function rowOf({ columns, values }, row) {
  return values.subarray(row * columns, (row + 1) * columns);
}

/** Mean of some rows. */
export function meanOfRows(matrix, first = 0) {
  const mean = new Float32Array(matrix.columns);
  for (let row = first; row < matrix.rows; row += 1) {
    for (let column = 0; column < matrix.columns; column += 1) {
      mean[column] += matrix.values[row * matrix.columns + column];
    }
  }
  return mean.map((value) => value / (matrix.rows - first));
}
