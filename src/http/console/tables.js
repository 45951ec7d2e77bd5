// The table of tables. Its rows stay and only their texts change, so that selections and screen readers are not disturbed.

import { at, make, say } from "./dom.js";
import { bytes, count, duration, percent } from "./format.js";

/** The maximum number of tables shown; the filter finds the others. */
const TABLES_MAX = 200;
const NUMBERS = 7;

const STATES = {
  off: "ids only",
  lazy: "lazy: requested rows",
  complete: "preload: all rows",
  loading: "preload: loading",
  refused: "unavailable",
};

let tables = [];
at("tables-filter").addEventListener("input", fill);

/** Shows the tables of `/v1/status`. */
export function drawTables(status) {
  tables = status.map(({ table, key_columns: key, reason, rows, changes, entries, bytes: size, floor_age_seconds: age }) => ({
    name: table,
    note: reason ?? key.join(", "),
    mode: rows.reason ? `${STATES[rows.state]}: ${rows.reason}` : STATES[rows.state],
    numbers: [
      rows.state === "off" ? "–" : `${count(rows.entries)} in ${bytes(rows.bytes)}`,
      rows.state === "off" ? "–" : ratio(rows.requests),
      count(changes.inserts),
      count(changes.updates),
      count(changes.deletes),
      `${count(entries)} in ${bytes(size)}`,
      `${duration(age)} ago`,
    ],
  }));
  fill();
}

/** Shows only names, where the status is not available. */
export function nameTables(names) {
  tables = names.map((name) => ({ name, note: "", mode: "not available here", numbers: [] }));
  fill();
}

function ratio({ hits, misses, stale }) {
  const asked = hits + misses + stale;
  return asked === 0 ? "no requests" : `${percent(hits + stale, asked)} of ${count(asked)}`;
}

function fill() {
  const part = at("tables-filter").value.trim().toLowerCase();
  const wanted = tables.filter(({ name }) => name.toLowerCase().includes(part));
  const body = at("tables");
  wanted.slice(0, TABLES_MAX).forEach((table, place) => draw(body.children[place] ?? body.appendChild(row()), table));
  while (body.children.length > Math.min(wanted.length, TABLES_MAX)) body.lastElementChild.remove();
  const hidden = wanted.length - TABLES_MAX;
  say(at("tables-more"), hidden > 0 ? `${count(hidden)} more tables are not shown; filter by name. ` : "");
}

function row() {
  const numbers = Array.from({ length: NUMBERS }, () => make("td", { class: "number" }));
  const name = make("th", { scope: "row" }, make("span", { class: "name" }), make("span", { class: "note" }));
  return make("tr", {}, name, make("td"), ...numbers);
}

function draw(row, { name, note, mode, numbers }) {
  const [heading, held, ...cells] = row.children;
  say(heading.children[0], name);
  say(heading.children[1], note);
  say(held, mode);
  cells.forEach((cell, place) => say(cell, numbers[place] ?? ""));
}
