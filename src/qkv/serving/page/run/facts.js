// A run in a row of numbers.

import { make, percent } from "../elements.js";
import { duration, grouped, inWords, short } from "../numbers.js";

export function createFacts({ record, calibration }) {
  const { test, data, machine, parameters } = record;
  const facts = [];
  if (test) {
    const [low, high] = test.accuracy_interval_95;
    facts.push({
      name: "Test accuracy",
      value: percent(test.accuracy, 2),
      note: `95 % interval ${(100 * low).toFixed(2)} to ${(100 * high).toFixed(2)} % on ${grouped(test.examples)}`,
    });
    facts.push({ name: "Test loss", value: short(test.loss), note: "nats, mean over the test" });
    facts.push({
      name: "Calibration error",
      value: percent(calibration.expected_calibration_error, 1),
      note: "expected, between probability and accuracy",
    });
  }
  facts.push({
    name: "Parameters",
    value: inWords(parameters),
    note: record.encoder_parameters ? `on ${inWords(record.encoder_parameters)} of a frozen encoder` : "all trained",
  });
  if (record.train_seconds != null) {
    facts.push({
      name: "Training",
      value: duration(record.train_seconds),
      note: `${machine?.processor ?? "machine unknown"}, ${plural(machine?.threads, "thread")}`,
    });
  }
  const { train, validation } = data.examples;
  facts.push({
    name: "Trained on",
    value: grouped(train),
    note: `${data.name}; ${grouped(validation)} more for validation; seed ${record.seed}`,
  });
  const list = make(
    "dl",
    { class: "facts" },
    ...facts.map(({ name, value, note }) =>
      make("div", {}, make("dt", {}, name), make("dd", { class: "fact-value" }, value), make("dd", { class: "small muted" }, note)),
    ),
  );
  const remarks = [record.verdict, ...(data.notes ?? [])].filter(Boolean);
  return make("div", { class: "stack" }, list, ...remarks.map((line) => make("p", { class: "remark small" }, sentence(line))));
}

function plural(count, word) {
  return `${count ?? "?"} ${word}${count === 1 ? "" : "s"}`;
}

function sentence(line) {
  return `${line[0].toUpperCase()}${line.slice(1)}${/[.!?]$/.test(line) ? "" : "."}`;
}
