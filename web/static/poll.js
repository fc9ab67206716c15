// Asking again and again, one request at a time.

const HIDDEN = 6; // so many times less often while nobody sees the page

// Calls `refresh` now and every `seconds`; `soon` brings the next call forward, but not closer than
// a second to the one before; `now` starts anew at once. `refresh` gets a signal that aborts when
// it is superseded, and handles its own errors; it may return seconds after which to come again.
export function poll(refresh, seconds) {
  let timer = 0;
  let controller = null;
  let wanted = false;

  async function run() {
    clearTimeout(timer);
    controller?.abort();
    const own = (controller = new AbortController());
    wanted = false;
    const wait = await refresh(own.signal);
    if (own !== controller) return;
    controller = null;
    const regular = (wait ?? seconds) * (document.hidden ? HIDDEN : 1);
    timer = setTimeout(run, (wanted ? 1 : regular) * 1000);
  }

  function soon() {
    if (wanted) return;
    wanted = true;
    if (!controller) {
      clearTimeout(timer);
      timer = setTimeout(run, 1000);
    }
  }

  run();
  return { now: run, soon };
}
