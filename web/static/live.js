// The connection over which events come: kept up, and resumed where it broke off.

import { ApiError, logins, openEvents } from "./api.js";
import { EventParser } from "./sse.js";

const FIRST_WAIT = 0.5; // seconds; doubled with every failure
const LONGEST_WAIT = 8;
const REFUSED_WAIT = 30;
const STABLE = 5_000; // milliseconds after which a connection counts as one that works
const RECENT = 100; // events that are shown when the page opens
const SILENCE = 45_000; // milliseconds without even a keep-alive after which a connection is dead

// Follows the live events as long as the page is open. `onEvent` gets each event, repetitions
// included; `onGap` a sentence where some are missing; `onState` (state, text) with one of the
// states connecting, live, waiting, refused.
export async function follow({ onEvent, onGap, onState }) {
  const connection = { lastId: null };
  let failures = 0;
  let liveAt = Infinity;
  onState("connecting", "Connecting");
  for (;;) {
    try {
      await stream(connection, {
        onEvent,
        onGap,
        onLive() {
          liveAt = performance.now();
          onState("live", "Live");
        },
      });
    } catch (error) {
      if (performance.now() - liveAt > STABLE) failures = 0;
      liveAt = Infinity;
      if (!(error instanceof ApiError)) reportError(error); // one of ours: told, and lived with
      if (error.status === 401 || error.status === 403) {
        onState("refused", error.status === 401 ? "Log in to follow" : error.message);
        await pause(REFUSED_WAIT);
        continue;
      }
      const wait = error.retryAfter ?? Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures);
      failures += 1;
      onState("waiting", reason(error));
      // Not all pages at the same moment, when a worker comes back.
      await pause(wait * (0.75 + Math.random() / 2));
    }
  }
}

function reason({ status, message }) {
  if (status === 503) return "Worker not ready";
  return status ? message : "Reconnecting";
}

// Throws an ApiError for whatever ends a connection.
function lost(error) {
  throw error instanceof ApiError ? error : new ApiError(0, "The stream has ended.");
}

async function stream(connection, { onEvent, onGap, onLive }) {
  const controller = new AbortController();
  let watch = 0;
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(() => controller.abort(), SILENCE);
  };
  heard();
  try {
    const response = await openEvents(connection.lastId, RECENT, controller.signal).catch(lost);
    onLive();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    for (;;) {
      const { value, done } = await reader.read().catch(lost);
      if (done) lost();
      heard();
      for (const { event, data, id } of parser.push(value)) {
        if (event === "vm_event") onEvent(JSON.parse(data));
        else if (event === "resync") {
          onGap("Events are missing here: the connection was away for too long");
        }
        if (id !== null) connection.lastId = id;
      }
    }
  } finally {
    clearTimeout(watch);
  }
}

// Waits, or less where the network has come back, or there is another login.
function pause(seconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, seconds * 1000);
    function end() {
      clearTimeout(timer);
      window.removeEventListener("online", end);
      logins.removeEventListener("given", end);
      resolve();
    }
    window.addEventListener("online", end);
    logins.addEventListener("given", end);
  });
}
