// Numbers as people read them.

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** 12,345. */
export function grouped(value) {
  return value.toLocaleString("en", { maximumFractionDigits: 0 });
}

/** 10⁻³ of −3. */
export function powerOfTen(exponent) {
  if (exponent === 0) return "1";
  if (exponent === 1) return "10";
  return `10${[...String(exponent)].map((sign) => RAISED[sign]).join("")}`;
}

/** Three digits of 10 to a power that may lie below every float: 0.0559, 3.1 × 10⁻²⁶. */
export function fromLog10(log10) {
  if (log10 > -4 && log10 < 5) return short(10 ** log10);
  const exponent = Math.floor(log10);
  return `${(10 ** (log10 - exponent)).toFixed(2)} × ${powerOfTen(exponent)}`;
}

/** About three digits, plain: 0.0559, 12.3, 4,096. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return grouped(value);
  if (size < 1e-4) return value < 0 ? `−${fromLog10(Math.log10(size))}` : fromLog10(Math.log10(size));
  return Number(value.toPrecision(3)).toString().replace("-", "−");
}

/** 274.7 million. */
export function inWords(value) {
  for (const [size, word] of [
    [1e12, "trillion"],
    [1e9, "billion"],
    [1e6, "million"],
  ]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${word}`;
  }
  return grouped(value);
}

/** 9 MiB. */
export function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let left = count;
  let unit = 0;
  while (left >= 999.5 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${Number(left.toPrecision(3))} ${units[unit]}`;
}

/** 40 s, 5 min 40 s, 3.1 h. */
export function duration(seconds) {
  if (seconds < 60) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
