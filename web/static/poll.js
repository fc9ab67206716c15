// Asking again and again, one request at a time.

const CLOSEST = 2; // seconds between the beginnings of two requests, whatever happens meanwhile
const RETRY = 3; // seconds after a failure, where the answer names none
const REFUSED = 30; // seconds without a login; `now` follows one
const HIDDEN = 6; // so many times less often while nobody sees the page

// Calls `refresh` now and every `seconds`; `soon` brings the next call forward, `now` starts anew at
// once. `refresh` gets a signal that aborts when it is superseded; `failed` gets the ApiError that it
// throws.
export function poll(refresh, failed, seconds) {
  let timer = 0;
  let controller = null;
  let begun = 0;
  let wanted = false;

  async function attempt(signal) {
    try {
      await refresh(signal);
    } catch (error) {
      if (signal.aborted) return seconds;
      failed(error);
      return error.retryAfter ?? (error.status === 401 ? REFUSED : RETRY);
    }
    return seconds;
  }

  async function run() {
    clearTimeout(timer);
    controller?.abort();
    const own = (controller = new AbortController());
    begun = performance.now();
    wanted = false;
    let wait = RETRY;
    try {
      wait = await attempt(own.signal);
    } finally {
      if (own === controller) {
        controller = null;
        if (wanted) bringForward();
        else timer = setTimeout(run, wait * 1000 * (document.hidden ? HIDDEN : 1));
      }
    }
  }

  function bringForward() {
    clearTimeout(timer);
    timer = setTimeout(run, Math.max(200, begun + CLOSEST * 1000 - performance.now()));
  }

  function soon() {
    if (wanted) return;
    wanted = true;
    if (!controller) bringForward();
  }

  run();
  return { now: run, soon };
}
