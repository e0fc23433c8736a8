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

/**
 * @param {() => Promise<string | null>} askForKey asked once for all requests that wait for it.
 */
export function createApi(askForKey) {
  let asking = null;

  async function send(path, { method = "GET", body, type, signal } = {}, again = true) {
    const headers = {};
    const key = sessionStorage.getItem(KEY);
    if (key) headers.Authorization = `Bearer ${key}`;
    if (type) headers["Content-Type"] = type;
    let response;
    try {
      response = await fetch(path, { method, body, headers, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "The server does not answer", "is it still running?");
    }
    if (response.ok) return response;
    if (response.status === 401 && again) {
      asking ??= askForKey().finally(() => { asking = null; });
      const given = await asking;
      if (given) {
        sessionStorage.setItem(KEY, given);
        return send(path, { method, body, type, signal }, false);
      }
    }
    if (response.status === 401) sessionStorage.removeItem(KEY);
    throw await failure(response);
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
  401: ["The key was not accepted", "ask whoever started the server"],
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
  return new ApiError(
    response.status,
    typeof said.error === "string" ? said.error : problem,
    typeof said.remedy === "string" ? said.remedy : remedy,
    Number.isFinite(wait) ? wait : null,
  );
}
