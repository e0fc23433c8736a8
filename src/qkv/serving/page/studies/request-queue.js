// Answers that follow a hand: the newest question is asked, older ones are forgotten.

/**
 * @param {(value: unknown, signal: AbortSignal) => Promise<unknown>} ask
 * @param {(answer: unknown) => void} show
 * @param {object} options
 * @param {AbortSignal} options.signal ends it all.
 * @param {(problem: Error) => void} options.tell
 * @param {number} [options.pauseMs] how long a hand must rest before it is asked.
 * @returns {(value: unknown) => void}
 */
export function createRequestQueue(ask, show, { signal, tell, pauseMs = 25 }) {
  let waiting = 0;
  let current = new AbortController();
  signal.addEventListener("abort", () => {
    clearTimeout(waiting);
    current.abort();
  });

  async function run(value) {
    current.abort();
    current = new AbortController();
    const mine = current.signal;
    try {
      const answer = await ask(value, AbortSignal.any([signal, mine]));
      if (mine.aborted || signal.aborted) return;
      tell(null);
      show(answer);
    } catch (error) {
      if (!mine.aborted && !signal.aborted) tell(error);
    }
  }

  return (value) => {
    clearTimeout(waiting);
    waiting = setTimeout(run, pauseMs, value);
  };
}
