// The demo's section of the console: the shop's rows on the left, the changes a client receives on the right.

import { at, make, say, show } from "/console/dom.js";
import { parse, plural, shown } from "/console/format.js";
import { badge } from "/console/live.js";
import { ask, problem } from "/console/session.js";
import { follow } from "/console/stream.js";

/** Limit for the entries of the list on the right. */
const ENTRIES_MAX = 100;
/** Delay in milliseconds before the rows are read again after a change, so that several changes share one request. */
const READ_AFTER = 80;
/** Duration of an entry's movement to its new position, in milliseconds. */
const MOVE_TIME = 350;
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** Buttons of a row: label, action, and accessible name. */
const ROW_ACTIONS = [
  ["+10 %", "raise", (name) => `+10 % on ${name}`],
  ["Sell one", "sell", (name) => `Sell one ${name}`],
  ["Delete", "remove", (name) => `Delete ${name}`],
];
/** Buttons of the whole table. */
const TABLE_ACTIONS = [
  ["10 % off all tea", "sale"],
  ["Restock everything", "restock"],
  ["Add an item", "add"],
];

/** Rows on the left, entries on the right, by id. */
const rows = new Map();
const entries = new Map();
/** Whether the other parties' changes run or pause. */
let traffic = true;

build();
begin();

function build() {
  const section = at("playground");
  const actions = TABLE_ACTIONS.map(([label, action]) => button(label, () => press({ action })));
  section.append(
    make("div", { class: "playground-head" },
      make("h2", { id: "playground-title", text: "One table, and a list that is always up to date" }),
      make("p", { text: "Each button runs SQL in PostgreSQL, as a colleague with psql would. No application notifies Highwater: it reads the database’s own change stream and reports changed rows to its clients." }),
    ),
    make("div", { class: "pair playground" },
      make("div", { class: "panel" },
        make("div", { class: "head" },
          make("h3", { id: "rows-title", text: "Table items, in PostgreSQL" }),
          button("Pause other changes", toggleTraffic, { id: "traffic", "aria-pressed": "false" }),
        ),
        make("div", { class: "bar" }, ...actions),
        make("div", { class: "scroll tall", role: "group", "aria-labelledby": "rows-title", tabindex: "0" },
          make("table", { class: "items" },
            make("thead", {}, make("tr", {},
              make("th", { scope: "col", class: "number", text: "Id" }),
              make("th", { scope: "col", text: "Name" }),
              make("th", { scope: "col", class: "number", text: "Price" }),
              make("th", { scope: "col", class: "number", text: "Stock" }),
              make("th", { scope: "col", text: "Change" }),
            )),
            make("tbody", { id: "rows" }),
          ),
        ),
        make("p", { id: "sql", class: "code sql", role: "status", text: "Press a button: its SQL appears here." }),
      ),
      make("div", { class: "panel" },
        make("div", { class: "head" },
          make("h3", { id: "received-title", text: "Changes a client receives, latest first" }),
          make("p", { class: "state", id: "received-state", text: "connecting" }),
        ),
        make("div", { class: "scroll tall", role: "group", "aria-labelledby": "received-title", tabindex: "0" },
          make("ol", { id: "received" }),
        ),
        make("p", { class: "foot", text: "A changed row moves to the top. That includes rows that the demo itself changes as background traffic." }),
      ),
    ),
  );
  show(section, true);
  show(at("playground-link"), true);
}

function button(label, press, attributes = {}) {
  const made = make("button", { type: "button", text: label, ...attributes });
  made.addEventListener("click", press);
  return made;
}

/** The list starts with all rows at one version; the stream reports the changes after it. */
async function begin() {
  try {
    await readRows();
    const version = await list();
    await follow({ tables: "items", include: "rows", detail: "true" }, apply, state, version);
  } catch (error) {
    state("down", error.message);
    setTimeout(begin, 1000);
  }
}

/** Loads all rows in key order, at the start and after a reset. */
async function list() {
  const { version, rows: all } = await fetchJson("/v1/tables/items/rows?limit=100");
  at("received").replaceChildren();
  entries.clear();
  for (const row of all) {
    at("received").append(entry(row.id).item);
    fill(row.id, { row });
  }
  return version;
}

async function fetchJson(path, options) {
  const response = await ask(path, options);
  if (!response.ok) throw await problem(response);
  return parse(await response.text());
}

function state(word, why) {
  at("received-state").dataset.state = word;
  say(at("received-state"), why ?? { connecting: "connecting", live: "live" }[word] ?? "not connected");
}

/** Applies one response: each of its rows moves to the top, the last one highest. */
function apply(response) {
  if (response.reset.length > 0) return void list();
  if (response.changes.length === 0) return;
  readSoon();
  const before = positions();
  for (const change of response.changes) {
    const { item } = entry(change.id);
    fill(change.id, change);
    at("received").prepend(item);
    item.classList.remove("new");
    requestAnimationFrame(() => item.classList.add("new"));
  }
  while (at("received").children.length > ENTRIES_MAX) forget(at("received").lastElementChild);
  move(before);
}

function entry(id) {
  const key = shown(id);
  if (!entries.has(key)) {
    const [name, facts, latency] = ["name", "facts", "latency"].map((part) => make("span", { class: part }));
    const operation = make("span", { class: "operation" });
    const item = make("li", { "data-id": key }, operation, name, facts, latency);
    entries.set(key, { item, operation, name, facts, latency });
  }
  return entries.get(key);
}

function forget(item) {
  entries.delete(item.dataset.id);
  item.remove();
}

function fill(id, { op, row, at: committed }) {
  const { item, operation, name, facts, latency } = entry(id);
  operation.replaceChildren(op ? badge(op) : "");
  item.classList.toggle("deleted", op === "delete");
  if (row) say(name, shown(row.name));
  else if (!name.textContent) say(name, "an item");
  say(facts, row ? `id ${shown(id)}, ${shown(row.price)}, ${shown(row.stock)} in stock` : `id ${shown(id)}, deleted`);
  if (committed) say(latency, `received ${Math.max(1, Date.now() - Date.parse(committed))} ms after COMMIT`);
}

function positions() {
  return new Map([...at("received").children].map((item) => [item, item.getBoundingClientRect().top]));
}

/** Animates every entry that moved from its previous position. */
function move(before) {
  if (reducedMotion.matches || document.hidden) return;
  for (const item of at("received").children) {
    const from = before.get(item);
    const shift = from === undefined ? 0 : from - item.getBoundingClientRect().top;
    if (shift) {
      item.animate([{ transform: `translateY(${shift}px)` }, { transform: "none" }], { duration: MOVE_TIME, easing: "ease-out" });
    }
  }
}

let reading = 0;
function readSoon() {
  clearTimeout(reading);
  reading = setTimeout(() => readRows().catch((error) => say(at("sql"), error.message)), READ_AFTER);
}

/** Shows the rows as the database has them now. Existing elements are kept, so that a button keeps its focus. */
async function readRows() {
  const { items, traffic: running } = await fetchJson("/demo/items");
  showTraffic(running);
  const here = new Set(items.map(({ id }) => shown(id)));
  for (const [key, leaving] of rows) if (!here.has(key)) removeRow(key, leaving);
  items.forEach((item, index) => {
    const key = shown(item.id);
    if (!rows.has(key)) rows.set(key, row(item));
    const made = rows.get(key);
    const [, name, price, stock] = made.children;
    say(name, shown(item.name));
    say(price, shown(item.price));
    say(stock, shown(item.stock));
    // A moved element would lose the focus.
    if (at("rows").children[index] !== made) at("rows").insertBefore(made, at("rows").children[index] ?? null);
  });
}

function removeRow(key, leaving) {
  const next = leaving.nextElementSibling ?? leaving.previousElementSibling;
  if (leaving.contains(document.activeElement)) next?.querySelector("button:last-child")?.focus();
  leaving.remove();
  rows.delete(key);
}

function row({ id, name }) {
  const actions = ROW_ACTIONS.map(([label, action, spoken]) =>
    button(label, () => press({ action, id: Number(shown(id)) }), { "aria-label": spoken(`${shown(name)} (${shown(id)})`), "data-action": action }),
  );
  return make("tr", { "data-id": shown(id) },
    make("td", { class: "number", text: shown(id) }), make("th", { scope: "row" }), make("td", { class: "number" }), make("td", { class: "number" }),
    make("td", {}, make("div", { class: "actions" }, ...actions)),
  );
}

function send(path, body) {
  return fetchJson(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

async function press(action) {
  try {
    const { sql, rows: touched } = await send("/demo/actions", action);
    say(at("sql"), `${sql}; ${plural(touched, "row")}`);
  } catch (error) {
    say(at("sql"), error.message);
  }
}

async function toggleTraffic() {
  showTraffic((await send("/demo/traffic", { running: !traffic })).traffic);
}

function showTraffic(running) {
  traffic = running;
  at("traffic").setAttribute("aria-pressed", String(!traffic));
}
