// The server's API as the page sees it: answers, or one kind of error with a line for the user.

/** What went wrong, in one line, with the HTTP status (0: no answer at all). */
export class ApiError extends Error {
  constructor(status, problem, remedy = "", retryAfterSeconds = null) {
    super(remedy ? `${problem.replace(/[.;]+$/, "")}; ${remedy}` : problem);
    this.name = "ApiError";
    this.status = status;
    this.problem = problem;
    this.remedy = remedy;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

const KEY = "qkv-key";
// As every key of a server is; a browser sends no header with other letters.
const POSSIBLE_KEY = /^[!-~]+$/;

/**
 * @param {(refused: boolean) => Promise<string | null>} askForKey asked once for all requests that
 *   wait for it; null where the user gives none.
 */
export function createApi(askForKey) {
  let asking = null;

  async function send(path, options = {}) {
    const key = sessionStorage.getItem(KEY);
    const response = await request(path, options, key);
    if (response.ok) return response;
    if (response.status === 401 && (await hasOtherKey(key))) return send(path, options);
    throw await failure(response);
  }

  async function request(path, { method = "GET", body, type, signal }, key) {
    const headers = {};
    if (key) headers.Authorization = `Bearer ${key}`;
    if (type) headers["Content-Type"] = type;
    try {
      return await fetch(path, { method, body, headers, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "The server does not answer", "is it still running?");
    }
  }

  /** Whether there is now a key to try in place of the one that was refused, or of none. */
  async function hasOtherKey(refused) {
    const kept = sessionStorage.getItem(KEY);
    // The user was asked for another request while this one was under way.
    if (kept && kept !== refused) return true;
    sessionStorage.removeItem(KEY);
    asking ??= askForPossibleKey(Boolean(refused)).finally(() => { asking = null; });
    const given = await asking;
    if (given) sessionStorage.setItem(KEY, given);
    return Boolean(given);
  }

  async function askForPossibleKey(refused) {
    const given = await askForKey(refused);
    return !given || POSSIBLE_KEY.test(given) ? given : askForPossibleKey(true);
  }

  return {
    /** A JSON document. */
    get: async (path, options = {}) => (await send(path, options)).json(),

    /** The answer to a body: a Blob or a File goes as it is, anything else as JSON. */
    post: async (path, body, options = {}) => {
      const raw = body instanceof Blob;
      const type = raw ? body.type || "application/octet-stream" : "application/json";
      const content = raw ? body : JSON.stringify(body);
      return (await send(path, { ...options, method: "POST", body: content, type })).json();
    },

    /** A file as it is, such as a picture; an `img` could not send the key. */
    blob: async (path, options = {}) => (await send(path, options)).blob(),
  };
}

const SAID = {
  401: ["This server asks for a key and got none", "load this page again to give it"],
  413: ["That is larger than this server takes", "send less"],
  429: ["The server is busy", "try again in a moment"],
  503: ["The server is starting or stopping", "try again in a moment"],
};

async function failure(response) {
  const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const [problem, remedy] = SAID[response.status] ?? [`The server answered ${response.status}`, ""];
  let said = {};
  try {
    said = await response.json();
  } catch {
    // Not every refusal on the way here is JSON; the status alone has to do.
  }
  // What the server says of keys is for programs: it speaks of headers.
  if (response.status === 401) said = {};
  return new ApiError(
    response.status,
    typeof said.error === "string" ? said.error : problem,
    typeof said.remedy === "string" ? said.remedy : remedy,
    Number.isFinite(wait) ? wait : null,
  );
}
