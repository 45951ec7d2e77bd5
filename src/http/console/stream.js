// /v1/stream, read with fetch: EventSource can't send an Authorization header.

import { parse } from "./format.js";
import { ask, problem } from "./session.js";

/** Delays before reconnecting, in milliseconds. */
const RETRY_MIN = 500;
const RETRY_MAX = 10_000;
/** The timeout of a silent connection: the server sends a comment every 14 s. */
const SILENCE_MAX = 40_000;
/** Statuses after which a retry does not help. */
const FINAL = [400, 401, 403, 404];
/** A hidden page closes its connection after this long, and resumes from its version when it is visible again. */
const HIDDEN_MAX = 60_000;
/** The maximum size of an event in characters; a larger one is an error, to bound the page's memory. */
const EVENT_MAX = 32 * 1024 * 1024;

/**
 * Follows changes for ever. `query` goes into the URL. `received(response, isFirst)` is called for every
 * response, `state(word, why, status)` with "connecting", "live" or "down".
 */
export async function follow(query, received, state, version = null) {
  let pause = RETRY_MIN;
  for (;;) {
    await visible();
    state("connecting");
    try {
      const parameters = new URLSearchParams(query);
      if (version) parameters.set("after", version);
      await connection(`/v1/stream?${parameters}`, () => state("live"), (response) => {
        pause = RETRY_MIN;
        const isFirst = version === null;
        version = response.version;
        received(response, isFirst);
      });
    } catch (error) {
      state("down", error.message, error.status);
      if (FINAL.includes(error.status)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, RETRY_MAX);
  }
}

/** One connection, until it ends or fails. */
async function connection(url, connected, received) {
  const controller = new AbortController();
  const end = (why) => controller.abort(new Error(why));
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(end, SILENCE_MAX, "the server is silent");
  };
  const unwatch = whenHidden(HIDDEN_MAX, () => end("paused while the page is hidden"));
  try {
    heard();
    const response = await ask(url, { signal: controller.signal });
    if (!response.ok) throw await problem(response);
    connected();
    await read(response.body, heard, received);
  } finally {
    clearTimeout(silence);
    unwatch();
    end("done");
  }
}

/** Parses events as they arrive. The server sends one line of data in each. */
async function read(body, heard, received) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the server ended the stream");
    heard();
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    if (rest.length > EVENT_MAX) throw new Error("an event is too large for this page");
    for (const event of events) {
      const field = (name) => event.split("\n").find((line) => line.startsWith(name))?.slice(name.length);
      const data = field("data: ");
      if (data === undefined) continue;
      if (field("event: ") === "problem") throw new Error(JSON.parse(data).detail);
      received(parse(data));
    }
  }
}

/** Waits until the page is visible. */
function visible() {
  if (!document.hidden) return undefined;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true });
  });
}

/** Calls `act` once the page has been hidden for `time`; returns a function that cancels it. */
function whenHidden(time, act) {
  let timer = 0;
  const update = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(act, time);
  };
  update();
  document.addEventListener("visibilitychange", update);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", update);
  };
}
