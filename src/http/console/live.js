// The panel of live changes: the newest above, so many and no more.

import { announce, at, make, say, show } from "./dom.js";
import { clock, count, plural, shown } from "./format.js";
import { follow } from "./stream.js";

/** Lines kept; the oldest leave. */
const LINES_MAX = 250;
/** Tables that can be chosen. */
const TABLES_MAX = 500;

const SIGNS = { insert: "+", update: "~", delete: "−", reset: "↺" };

/** Every line kept, the newest first: { at, op, table, id }. */
let lines = [];
let total = 0;
let paused = false;
/** Lines that came while paused. */
let waiting = 0;
let drawing = false;
/** How many of the newest lines were not drawn yet. */
let fresh = 0;
/** What others are told of each answer. */
const listeners = [];

/** Starts to follow. */
export function start() {
  at("live-pause").addEventListener("click", pause);
  at("live-clear").addEventListener("click", clear);
  at("live-table").addEventListener("change", redraw);
  follow({ detail: "true" }, told, state);
}

/** Calls `listener(answer, isFirst)` for each answer. */
export function onAnswer(listener) {
  listeners.push(listener);
}

function told(answer, isFirst) {
  listeners.forEach((listener) => listener(answer, isFirst));
  if (isFirst) return begin(answer);
  const now = new Date().toISOString();
  const resets = answer.reset.map((table) => ({ at: now, op: "reset", table, id: "read it again in full" }));
  const changes = answer.changes.slice(-LINES_MAX);
  const told = [...resets, ...changes.map(line)].reverse();
  const many = answer.reset.length + answer.changes.length;
  if (many === 0) return;
  total += many;
  lines = [...told, ...lines].slice(0, LINES_MAX);
  if (paused) {
    waiting += many;
    return tell();
  }
  fresh += told.length;
  draw();
  const tables = [...new Set(told.map((line) => line.table))];
  announce(`${plural(many, "change")} in ${tables.slice(0, 3).join(", ")}${tables.length > 3 ? " and others" : ""}`);
}

function line({ at, op, table, id }) {
  return { at, op, table, id: shown(id) };
}

/** The starting point: every table is a reset, which is no news. */
function begin(answer) {
  const tables = answer.reset.slice(0, TABLES_MAX);
  at("live-table").replaceChildren(
    make("option", { value: "", text: "all" }),
    ...tables.map((table) => make("option", { value: table, text: table })),
  );
  say(at("live-foot"), `Following ${plural(answer.reset.length, "table")} from version ${answer.version}.`);
}

function state(word, why, status) {
  if (status === 404) why = "changes are told on the main listener (http.listen)";
  const text = { connecting: "connecting", live: "live", away: "not connected" }[word];
  at("live-state").dataset.state = word;
  say(at("live-state"), why ? `${text}: ${why}` : text);
}

function pause() {
  paused = !paused;
  waiting = 0;
  if (!paused) redraw();
  tell();
}

function clear() {
  lines = [];
  total = 0;
  waiting = 0;
  redraw();
  tell();
}

function wanted(line) {
  const table = at("live-table").value;
  return !table || line.table === table;
}

/** Draws what is new, once before the next picture. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const body = at("live");
    const rows = lines.slice(0, fresh).filter(wanted).map((line) => row(line, true));
    fresh = 0;
    body.prepend(...rows);
    while (body.children.length > LINES_MAX) body.lastElementChild.remove();
    tell();
  });
}

function redraw() {
  fresh = 0;
  at("live").replaceChildren(...lines.filter(wanted).map((line) => row(line, false)));
  tell();
}

function row({ at, op, table, id }, isNew) {
  return make(
    "tr",
    { class: isNew ? "new" : undefined },
    make("td", { class: "time", text: clock(at) }),
    make("td", {}, badge(op)),
    make("td", { text: table }),
    make("td", { class: "id", text: id }),
  );
}

/** The operation as a sign and a word. */
export function badge(op) {
  const sign = make("span", { "aria-hidden": "true", text: SIGNS[op] ?? "·" });
  return make("span", { class: "op", "data-op": op }, sign, ` ${op}`);
}

function tell() {
  show(at("live-empty"), at("live").children.length === 0);
  at("live-pause").textContent = paused ? `Resume${waiting ? ` (${count(waiting)} new)` : ""}` : "Pause";
  if (total > 0) {
    const kept = total > lines.length ? `, the newest ${count(lines.length)} of them kept` : "";
    say(at("live-foot"), `${plural(total, "change")} told${kept}.`);
  }
}
