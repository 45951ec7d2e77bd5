// The demo's part of the console: the shop's rows on the left, what a client is told on the right.

import { at, make, say, show } from "/console/dom.js";
import { parse, plural, shown } from "/console/format.js";
import { badge } from "/console/live.js";
import { ask, problem } from "/console/session.js";
import { follow } from "/console/stream.js";

/** Entries of the list on the right. */
const ENTRIES_MAX = 100;
/** After news, the rows are read again so many milliseconds later: once for many. */
const READ_AFTER = 80;
/** How long an entry takes to its new place, in milliseconds. */
const MOVE_TIME = 350;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Buttons of a row: label, act, and how it is read out. */
const ROW_ACTS = [
  ["+10 %", "raise", (name) => `+10 % on ${name}`],
  ["Sell one", "sell", (name) => `Sell one ${name}`],
  ["Delete", "remove", (name) => `Delete ${name}`],
];
/** Buttons of the whole table. */
const TABLE_ACTS = [
  ["10 % off all tea", "sale"],
  ["Restock everything", "restock"],
  ["Add an item", "add"],
];

/** Rows on the left, entries on the right, by id. */
const rows = new Map();
const entries = new Map();
let open = true;

build();
begin();

function build() {
  const section = at("story");
  const acts = TABLE_ACTS.map(([label, act]) => button(label, () => press({ act })));
  section.append(
    make("div", { class: "story-head" },
      make("h2", { id: "story-title", text: "One table, and a list that is always right" }),
      make("p", { text: "Each button runs SQL in PostgreSQL, as a colleague with psql would. Nobody calls Highwater: it reads the database’s own change stream, and tells who asks." }),
    ),
    make("div", { class: "pair story" },
      make("div", { class: "panel" },
        make("div", { class: "head" },
          make("h3", { id: "rows-title", text: "Table items, in PostgreSQL" }),
          button("Pause the others", trade, { id: "business", "aria-pressed": "false" }),
        ),
        make("div", { class: "bar" }, ...acts),
        make("div", { class: "scroll tall", role: "group", "aria-labelledby": "rows-title", tabindex: "0" },
          make("table", { class: "shelf" },
            make("thead", {}, make("tr", {},
              make("th", { scope: "col", class: "number", text: "Id" }),
              make("th", { scope: "col", text: "Name" }),
              make("th", { scope: "col", class: "number", text: "Price" }),
              make("th", { scope: "col", class: "number", text: "Stock" }),
              make("th", { scope: "col", text: "Change it" }),
            )),
            make("tbody", { id: "rows" }),
          ),
        ),
        make("p", { id: "sql", class: "code sql", role: "status", text: "Press a button: its SQL appears here." }),
      ),
      make("div", { class: "panel" },
        make("div", { class: "head" },
          make("h3", { id: "told-title", text: "What a client is told, latest change first" }),
          make("p", { class: "state", id: "told-state", text: "connecting" }),
        ),
        make("div", { class: "scroll tall", role: "group", "aria-labelledby": "told-title", tabindex: "0" },
          make("ol", { id: "told" }),
        ),
        make("p", { class: "foot", text: "A row that changes moves to the top. Rows that others change, the demo’s everyday business, do so too." }),
      ),
    ),
  );
  show(section, true);
  show(at("story-link"), true);
}

function button(label, press, attributes = {}) {
  const made = make("button", { type: "button", text: label, ...attributes });
  made.addEventListener("click", press);
  return made;
}

/** The list begins with every row, at one version; from there on the stream tells. */
async function begin() {
  try {
    await readRows();
    const version = await list();
    await follow({ tables: "items", include: "rows", detail: "true" }, take, state, version);
  } catch (error) {
    state("away", error.message);
    setTimeout(begin, 1000);
  }
}

/** Every row, in the order of the keys; also after a reset. */
async function list() {
  const { version, rows: all } = await told("/v1/tables/items/rows?limit=100");
  at("told").replaceChildren();
  entries.clear();
  for (const row of all) {
    at("told").append(entry(row.id).item);
    fill(row.id, { row });
  }
  return version;
}

async function told(path, options) {
  const response = await ask(path, options);
  if (!response.ok) throw await problem(response);
  return parse(await response.text());
}

function state(word, why) {
  at("told-state").dataset.state = word;
  say(at("told-state"), why ?? { connecting: "connecting", live: "live" }[word] ?? "not connected");
}

/** One answer: every row that it names moves to the top, the last one highest. */
function take(answer) {
  if (answer.reset.length > 0) return void list();
  if (answer.changes.length === 0) return;
  readSoon();
  const before = places();
  for (const change of answer.changes) {
    const { item } = entry(change.id);
    fill(change.id, change);
    at("told").prepend(item);
    item.classList.remove("new");
    requestAnimationFrame(() => item.classList.add("new"));
  }
  while (at("told").children.length > ENTRIES_MAX) forget(at("told").lastElementChild);
  move(before);
}

function entry(id) {
  const key = shown(id);
  if (!entries.has(key)) {
    const [name, facts, news] = ["name", "facts", "news"].map((part) => make("span", { class: part }));
    const what = make("span", { class: "what" });
    const item = make("li", { "data-id": key }, what, name, facts, news);
    entries.set(key, { item, what, name, facts, news });
  }
  return entries.get(key);
}

function forget(item) {
  entries.delete(item.dataset.id);
  item.remove();
}

function fill(id, { op, row, at: committed }) {
  const { item, what, name, facts, news } = entry(id);
  what.replaceChildren(op ? badge(op) : "");
  item.classList.toggle("gone", op === "delete");
  if (row) say(name, shown(row.name));
  else if (!name.textContent) say(name, "an item");
  say(facts, row ? `id ${shown(id)}, ${shown(row.price)}, ${shown(row.stock)} in stock` : `id ${shown(id)}, gone`);
  if (committed) say(news, `told ${Math.max(1, Date.now() - Date.parse(committed))} ms after COMMIT`);
}

function places() {
  return new Map([...at("told").children].map((item) => [item, item.getBoundingClientRect().top]));
}

/** Lets every entry that has another place go there from where it was. */
function move(before) {
  if (still.matches || document.hidden) return;
  for (const item of at("told").children) {
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

/** What the database has now. Rows stay where they are, so that a button keeps its focus. */
async function readRows() {
  const { items, open: isOpen } = await told("/demo/items");
  opened(isOpen);
  const here = new Set(items.map(({ id }) => shown(id)));
  for (const [key, leaving] of rows) if (!here.has(key)) takeAway(key, leaving);
  items.forEach((item, place) => {
    const key = shown(item.id);
    if (!rows.has(key)) rows.set(key, row(item));
    const made = rows.get(key);
    const [, name, price, stock] = made.children;
    say(name, shown(item.name));
    say(price, shown(item.price));
    say(stock, shown(item.stock));
    // One that is moved would lose the focus.
    if (at("rows").children[place] !== made) at("rows").insertBefore(made, at("rows").children[place] ?? null);
  });
}

function takeAway(key, leaving) {
  const next = leaving.nextElementSibling ?? leaving.previousElementSibling;
  if (leaving.contains(document.activeElement)) next?.querySelector("button:last-child")?.focus();
  leaving.remove();
  rows.delete(key);
}

function row({ id, name }) {
  const acts = ROW_ACTS.map(([label, act, spoken]) =>
    button(label, () => press({ act, id: Number(shown(id)) }), { "aria-label": spoken(`${shown(name)} (${shown(id)})`), "data-act": act }),
  );
  return make("tr", { "data-id": shown(id) },
    make("td", { class: "number", text: shown(id) }), make("th", { scope: "row" }), make("td", { class: "number" }), make("td", { class: "number" }),
    make("td", {}, make("div", { class: "acts" }, ...acts)),
  );
}

function send(path, body) {
  return told(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

async function press(act) {
  try {
    const { sql, rows: touched } = await send("/demo/acts", act);
    say(at("sql"), `${sql}; ${plural(touched, "row")}`);
  } catch (error) {
    say(at("sql"), error.message);
  }
}

async function trade() {
  opened((await send("/demo/business", { open: !open })).open);
}

function opened(isOpen) {
  open = isOpen;
  at("business").setAttribute("aria-pressed", String(!open));
}
