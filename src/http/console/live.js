// The panel of live changes: a bounded number of them, the newest first.

import { announce, at, make, say, show } from "./dom.js";
import { clock, count, plural, shown } from "./format.js";
import { follow } from "./stream.js";

/** The maximum number of lines; the oldest are removed. */
const LINES_MAX = 250;
/** The maximum number of tables in the selection. */
const TABLES_MAX = 500;

const SIGNS = { insert: "+", update: "~", delete: "−", reset: "↺" };

/** The lines, the newest first: { at, op, table, id }. */
let lines = [];
let total = 0;
let paused = false;
/** Lines received while paused. */
let waiting = 0;
let drawing = false;
/** The number of newest lines that are not drawn yet. */
let fresh = 0;
/** Callbacks for each response. */
const listeners = [];

/** Starts to follow changes. */
export function start() {
  at("live-pause").addEventListener("click", pause);
  at("live-clear").addEventListener("click", clear);
  at("live-table").addEventListener("change", redraw);
  follow({ detail: "true" }, received, state);
}

/** Calls `listener(response, isFirst)` for each response. */
export function onResponse(listener) {
  listeners.push(listener);
}

function received(response, isFirst) {
  listeners.forEach((listener) => listener(response, isFirst));
  if (isFirst) return begin(response);
  const now = new Date().toISOString();
  const resets = response.reset.map((table) => ({ at: now, op: "reset", table, id: "read it again in full" }));
  const changes = response.changes.slice(-LINES_MAX);
  const news = [...resets, ...changes.map(line)].reverse();
  const many = response.reset.length + response.changes.length;
  if (many === 0) return;
  total += many;
  lines = [...news, ...lines].slice(0, LINES_MAX);
  if (paused) {
    waiting += many;
    return updateFoot();
  }
  fresh += news.length;
  draw();
  const tables = [...new Set(news.map((line) => line.table))];
  announce(`${plural(many, "change")} in ${tables.slice(0, 3).join(", ")}${tables.length > 3 ? " and others" : ""}`);
}

function line({ at, op, table, id }) {
  return { at, op, table, id: shown(id) };
}

/** The starting point: every table is a reset, which is not a change. */
function begin(response) {
  const tables = response.reset.slice(0, TABLES_MAX);
  at("live-table").replaceChildren(
    make("option", { value: "", text: "all" }),
    ...tables.map((table) => make("option", { value: table, text: table })),
  );
  say(at("live-foot"), `Following ${plural(response.reset.length, "table")} from version ${response.version}.`);
}

function state(word, why, status) {
  if (status === 404) why = "changes are on the main listener (http.listen)";
  const text = { connecting: "connecting", live: "live", down: "not connected" }[word];
  at("live-state").dataset.state = word;
  say(at("live-state"), why ? `${text}: ${why}` : text);
}

function pause() {
  paused = !paused;
  waiting = 0;
  if (!paused) redraw();
  updateFoot();
}

function clear() {
  lines = [];
  total = 0;
  waiting = 0;
  redraw();
  updateFoot();
}

function isSelected(line) {
  const table = at("live-table").value;
  return !table || line.table === table;
}

/** Draws new lines once before the next frame. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const body = at("live");
    const rows = lines.slice(0, fresh).filter(isSelected).map((line) => row(line, true));
    fresh = 0;
    body.prepend(...rows);
    while (body.children.length > LINES_MAX) body.lastElementChild.remove();
    updateFoot();
  });
}

function redraw() {
  fresh = 0;
  at("live").replaceChildren(...lines.filter(isSelected).map((line) => row(line, false)));
  updateFoot();
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

function updateFoot() {
  show(at("live-empty"), at("live").children.length === 0);
  at("live-pause").textContent = paused ? `Resume${waiting ? ` (${count(waiting)} new)` : ""}` : "Pause";
  if (total > 0) {
    const kept = total > lines.length ? `, of which the newest ${count(lines.length)} are shown` : "";
    say(at("live-foot"), `${plural(total, "change")} received${kept}.`);
  }
}
