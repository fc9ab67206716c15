// Requests to the API of the worker that served the page, with the login that the user has given.

const BASE = document.documentElement.dataset.api;
const KEY = "vimfed-login";

// Tells "needed" when the present login, or the lack of one, was answered 401 (`detail` is the
// challenge, which names the ways to log in), and "given" when there is another.
export const logins = new EventTarget();

// A request that got no answer of use. `status` is 0 where nobody answered; `retryAfter` seconds.
export class ApiError extends Error {
  constructor(status, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

// Returns what a notice says of a request that failed: the text and its kind. Throws what is no
// ApiError.
export function complaint(error) {
  if (!(error instanceof ApiError)) throw error;
  return error.status === 401 ? ["Log in to see this.", "info"] : [error.message, "error"];
}

// Tries a login and keeps its headers as long as the tab is open. Throws ApiError.
export async function giveLogin(headers) {
  await open(`${BASE}/v1/workers`, { headers });
  sessionStorage.setItem(KEY, JSON.stringify(headers));
  logins.dispatchEvent(new Event("given"));
}

export const forgetLogin = () => sessionStorage.removeItem(KEY);

export const loginHeaders = () => JSON.parse(sessionStorage.getItem(KEY) ?? "{}");

// Returns the response to a GET that succeeds. Throws ApiError.
export async function open(path, { parameters = [], headers = {}, signal } = {}) {
  const query = new URLSearchParams(parameters).toString();
  const login = sessionStorage.getItem(KEY);
  let response;
  try {
    response = await fetch(query ? `${path}?${query}` : path, {
      headers: { ...loginHeaders(), ...headers },
      // Ours are the headers above; with others the browser would ask for a password itself.
      credentials: "omit",
      cache: "no-store",
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The worker does not answer. Trying again.");
  }
  if (response.ok) return response;
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy's error page: the status says enough.
  }
  const message = response.status === 503 && body.reason
    ? `No complete answer now: ${body.reason}. Trying again.`
    : (body.error ?? `The worker answered ${response.status}.`);
  // Another login may have been given meanwhile.
  if (response.status === 401 && login === sessionStorage.getItem(KEY)) {
    const detail = response.headers.get("WWW-Authenticate") ?? "";
    logins.dispatchEvent(new CustomEvent("needed", { detail }));
  }
  const retryAfter = Number(response.headers.get("Retry-After") ?? body.retry_after);
  throw new ApiError(response.status, message, retryAfter || null);
}

// Returns the JSON of a GET below the API's prefix. Throws ApiError.
export async function get(path, parameters, signal) {
  const response = await open(BASE + path, { parameters, signal });
  return response.json();
}

// Returns the response to a GET of the stream of live events: from an id on, or first so many of
// the newest. Throws ApiError.
export function openEvents(lastEventId, recent, signal) {
  const headers = { Accept: "text/event-stream" };
  if (lastEventId) headers["Last-Event-ID"] = lastEventId;
  return open(`${BASE}/v1/events`, { parameters: { recent }, headers, signal });
}

// Returns the path of a cloud: a cloud_owner has no "_".
export function cloudPath(vimId) {
  const cut = vimId.indexOf("_");
  const parts = [vimId.slice(0, cut), vimId.slice(cut + 1)];
  return `/v1/${parts.map(encodeURIComponent).join("/")}`;
}

export const instancePath = (vimId, instanceId) =>
  `${cloudPath(vimId)}/instances/${encodeURIComponent(instanceId)}`;
