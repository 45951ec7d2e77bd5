// /v1/stream, read with fetch: EventSource can't send an Authorization header.

import { parse } from "./format.js";
import { ask, problem } from "./session.js";

/** Pauses before connecting again, in milliseconds. */
const RETRY_MIN = 500;
const RETRY_MAX = 10_000;
/** A server that sends nothing for so long is gone: it sends a comment every 14 s. */
const SILENCE_MAX = 40_000;
/** Answers after which asking again won't help. */
const FINAL = [400, 401, 403, 404];
/** A page that nobody sees lets go of its connection after so long, and goes on from there later. */
const HIDDEN_MAX = 60_000;
/** Characters of one event; beyond it the page gives up rather than grow. */
const EVENT_MAX = 32 * 1024 * 1024;

/**
 * Follows changes for ever. `query` goes into the URL. `told(answer, isFirst)` is called for every
 * answer, `state(word, why, status)` with "connecting", "live" or "away".
 */
export async function follow(query, told, state, version = null) {
  let pause = RETRY_MIN;
  for (;;) {
    await visible();
    state("connecting");
    try {
      const parameters = new URLSearchParams(query);
      if (version) parameters.set("after", version);
      await connection(`/v1/stream?${parameters}`, () => state("live"), (answer) => {
        pause = RETRY_MIN;
        const isFirst = version === null;
        version = answer.version;
        told(answer, isFirst);
      });
    } catch (error) {
      state("away", error.message, error.status);
      if (FINAL.includes(error.status)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, RETRY_MAX);
  }
}

/** One connection, until it ends or fails. */
async function connection(url, connected, told) {
  const controller = new AbortController();
  const end = (why) => controller.abort(new Error(why));
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(end, SILENCE_MAX, "the server fell silent");
  };
  const unwatch = whenHidden(HIDDEN_MAX, () => end("paused while the page is hidden"));
  try {
    heard();
    const response = await ask(url, { signal: controller.signal });
    if (!response.ok) throw await problem(response);
    connected();
    await read(response.body, heard, told);
  } finally {
    clearTimeout(silence);
    unwatch();
    end("done");
  }
}

/** Takes events apart as they come. Ours have one line of data each. */
async function read(body, heard, told) {
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
      told(parse(data));
    }
  }
}

/** Waits until somebody can see the page. */
function visible() {
  if (!document.hidden) return undefined;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true });
  });
}

/** Calls `act` once the page has been hidden for so long; answers what stops that. */
function whenHidden(time, act) {
  let timer = 0;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(act, time);
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
