// A poll by hand, with its response and the equivalent curl command.

import { at, copy, say, show } from "./dom.js";
import { bytes } from "./format.js";
import { ask, hasToken } from "./session.js";

/** The number of characters of a response that are shown. */
const SHOWN_MAX = 30_000;

/** The poll in progress. */
let active = null;
/** The version of the page's newest response. */
let newest = null;
/** The version of the last response of this form. */
let lastVersion = null;

/** Connects the form. */
export function start() {
  const form = at("poll-form");
  form.addEventListener("input", showCommand);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    poll();
  });
  at("poll-now").addEventListener("click", () => after(newest ?? ""));
  at("poll-continue").addEventListener("click", () => {
    after(lastVersion);
    at("poll-ask").focus();
  });
  at("poll-cancel").addEventListener("click", () => active?.abort());
  at("poll-copy").addEventListener("click", () => copy(command(), at("poll-curl"), at("poll-copy")));
  document.addEventListener("token", showCommand);
  showCommand();
}

/** Sets the newest version, which `Now` inserts. */
export function setNewest(version) {
  newest = version;
}

function after(version) {
  at("poll-after").value = version;
  showCommand();
}

/** Path and query. */
function path() {
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
  const url = `${location.origin}${path()}`.replaceAll("'", "%27");
  // The token itself is not shown.
  return hasToken() ? `curl -H "Authorization: Bearer $HIGHWATER_TOKEN" '${url}'` : `curl '${url}'`;
}

function showCommand() {
  say(at("poll-curl"), command());
}

async function poll() {
  active?.abort();
  const mine = (active = new AbortController());
  const waits = at("poll-wait").value;
  show(at("poll-cancel"), true);
  say(at("poll-status"), waits ? "Waiting for changes…" : "Sending…");
  const started = performance.now();
  try {
    const response = await ask(path(), { signal: mine.signal });
    const text = await response.text();
    const took = performance.now() - started;
    draw(response, text, took);
  } catch (error) {
    if (active === mine) say(at("poll-status"), mine.signal.aborted ? "Cancelled." : `No response: ${error.message}`);
  }
  if (active !== mine) return;
  active = null;
  show(at("poll-cancel"), false);
  showCommand();
}

function draw(response, text, took) {
  say(at("poll-status"), `${response.status} ${response.ok ? "OK" : response.statusText}, ${Math.round(took)} ms, ${bytes(text.length)}`);
  lastVersion = response.ok ? (/^\{"version":"([^"]*)"/.exec(text)?.[1] ?? null) : null;
  const long = text.length > SHOWN_MAX;
  const shown = folded(long ? text.slice(0, SHOWN_MAX) : text);
  at("poll-answer").textContent = long ? `${shown}\n… (${bytes(text.length - SHOWN_MAX)} more)` : shown;
  show(at("poll-answer"), true);
  show(at("poll-continue"), lastVersion !== null);
}

/** One change per line; otherwise as it was sent. */
function folded(text) {
  return text
    .replace(',"changes":[{', ',\n"changes":[\n {')
    .replaceAll('},{"table":', '},\n {"table":');
}
