// A poll tried by hand, with its answer and the same for a terminal.

import { at, copy, say, show } from "./dom.js";
import { bytes } from "./format.js";
import { ask, hasToken } from "./session.js";

/** Characters of an answer that are shown. */
const SHOWN_MAX = 30_000;

/** The poll that is under way. */
let asking = null;
/** The version of the newest answer that the page was given. */
let newest = null;
/** The version of the last answer here. */
let answered = null;

/** Wires the form. */
export function start() {
  const form = at("poll-form");
  form.addEventListener("input", tellCommand);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    poll();
  });
  at("poll-now").addEventListener("click", () => after(newest ?? ""));
  at("poll-continue").addEventListener("click", () => {
    after(answered);
    at("poll-ask").focus();
  });
  at("poll-cancel").addEventListener("click", () => asking?.abort());
  at("poll-copy").addEventListener("click", () => copy(command(), at("poll-curl"), at("poll-copy")));
  document.addEventListener("token", tellCommand);
  tellCommand();
}

/** The newest version: what `Now` puts in. */
export function sawVersion(version) {
  newest = version;
}

function after(version) {
  at("poll-after").value = version;
  tellCommand();
}

/** Path and query. */
function question() {
  const parameters = new URLSearchParams();
  for (const name of ["tables", "after", "limit", "wait"]) {
    const value = at(`poll-${name}`).value.trim();
    if (value) parameters.set(name, value);
  }
  if (at("poll-rows").checked) parameters.set("include", "rows");
  if (at("poll-detail").checked) parameters.set("detail", "true");
  const query = parameters.toString().replaceAll("%2C", ",");
  return `/v1/changes${query && "?"}${query}`;
}

function command() {
  const url = `${location.origin}${question()}`.replaceAll("'", "%27");
  // The token itself stays where it is.
  return hasToken() ? `curl -H "Authorization: Bearer $HIGHWATER_TOKEN" '${url}'` : `curl '${url}'`;
}

function tellCommand() {
  say(at("poll-curl"), command());
}

async function poll() {
  asking?.abort();
  const mine = (asking = new AbortController());
  const waits = at("poll-wait").value;
  show(at("poll-cancel"), true);
  say(at("poll-status"), waits ? "Waiting for something to change…" : "Asking…");
  const started = performance.now();
  try {
    const response = await ask(question(), { signal: mine.signal });
    const text = await response.text();
    const took = performance.now() - started;
    draw(response, text, took);
  } catch (error) {
    if (asking === mine) say(at("poll-status"), mine.signal.aborted ? "Cancelled." : `No answer: ${error.message}`);
  }
  if (asking !== mine) return;
  asking = null;
  show(at("poll-cancel"), false);
  tellCommand();
}

function draw(response, text, took) {
  say(at("poll-status"), `${response.status} ${response.ok ? "OK" : response.statusText}, ${Math.round(took)} ms, ${bytes(text.length)}`);
  answered = response.ok ? (/^\{"version":"([^"]*)"/.exec(text)?.[1] ?? null) : null;
  const long = text.length > SHOWN_MAX;
  const shown = folded(long ? text.slice(0, SHOWN_MAX) : text);
  at("poll-answer").textContent = long ? `${shown}\n… (${bytes(text.length - SHOWN_MAX)} more)` : shown;
  show(at("poll-answer"), true);
  show(at("poll-continue"), answered !== null);
}

/** One change a line; otherwise as it was sent. */
function folded(text) {
  return text
    .replace(',"changes":[{', ',\n"changes":[\n {')
    .replaceAll('},{"table":', '},\n {"table":');
}
