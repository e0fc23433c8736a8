// One tab stop for many things: arrow keys move within, as screen readers and keyboards expect.

/**
 * Roving tabindex over the items of a container.
 *
 * @param {HTMLElement} container
 * @param {() => HTMLElement[]} items in order; asked for at every key.
 * @param {object} options
 * @param {() => number} options.columns items in a row: up and down move by as many.
 * @param {(index: number) => void} [options.chosen] Enter or the space bar.
 * @param {() => void} [options.left] Escape.
 * @returns {{focus: (index: number) => void, reset: (index?: number) => void}}
 */
export function rove(container, items, { columns, chosen = () => {}, left = () => {} }) {
  const reset = (index = 0) => {
    const all = items();
    const stop = Math.min(Math.max(index, 0), all.length - 1);
    for (const [place, item] of all.entries()) {
      const wanted = place === stop ? 0 : -1;
      if (item.tabIndex !== wanted) item.tabIndex = wanted;
    }
    return all[stop];
  };
  const focus = (index) => reset(index)?.focus();

  container.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const all = items();
    const here = all.indexOf(event.target);
    if (here < 0) return;
    const row = columns();
    const moves = {
      ArrowRight: here + 1,
      ArrowLeft: here - 1,
      ArrowDown: here + row,
      ArrowUp: here - row,
      Home: 0,
      End: all.length - 1,
    };
    if (event.key in moves) {
      const place = moves[event.key];
      if (place >= 0 && place < all.length) focus(place);
    } else if (event.key === "Enter" || event.key === " ") chosen(here);
    else if (event.key === "Escape") left();
    else return;
    event.preventDefault();
  });
  // A click moves the tab stop along.
  container.addEventListener("focusin", (event) => {
    const here = items().indexOf(event.target);
    if (here >= 0 && event.target.tabIndex !== 0) reset(here);
  });
  return { focus, reset };
}

/** How many items stand in the first row, as the browser laid them out. */
export function itemsInRow(items) {
  const top = items[0]?.offsetTop;
  const next = items.findIndex((item) => item.offsetTop !== top);
  return next < 0 ? items.length || 1 : next;
}
