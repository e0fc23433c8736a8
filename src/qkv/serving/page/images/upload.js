// An image of the user's own: chosen, dropped anywhere, or pasted.

import { freshId, make } from "../elements.js";

/**
 * @param {AbortSignal} signal of the view.
 * @param {(picture: {blob: Blob, name: string, truth: null}) => void} chosen
 * @param {(line: string) => void} tell
 */
export function createUpload(signal, chosen, tell) {
  const id = freshId("file");
  const input = make("input", {
    type: "file",
    id,
    accept: "image/*",
    class: "unseen",
    onchange: () => {
      take(input.files);
      input.value = "";
    },
  });
  const element = make(
    "div",
    { class: "stack" },
    input,
    make(
      "label",
      { class: "drop", for: id },
      make("strong", {}, "Choose an image"),
      make("span", {}, "or drop it anywhere on this page, or paste it"),
    ),
    make("p", { class: "small muted" }, "It stays on this server."),
  );

  function take(files) {
    const file = [...(files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) chosen({ blob: file, name: file.name || "pasted image", truth: null });
    else if (files?.length) tell("That is no image; choose a PNG, JPEG or WebP file");
  }

  document.addEventListener(
    "paste",
    (event) => {
      if (event.clipboardData?.files.length) {
        event.preventDefault();
        take(event.clipboardData.files);
      }
    },
    { signal },
  );
  document.addEventListener(
    "dragover",
    (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    },
    { signal },
  );
  document.addEventListener(
    "dragleave",
    (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dropping");
    },
    { signal },
  );
  document.addEventListener(
    "drop",
    (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      take(event.dataTransfer?.files);
    },
    { signal },
  );
  signal.addEventListener("abort", () => document.body.classList.remove("dropping"));
  return { element };
}
