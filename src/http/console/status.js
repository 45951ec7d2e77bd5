// How the service is doing, from /v1/status: the headline, the slot, the resets.

import { at, describe, make, say, show } from "./dom.js";
import { bytes, clock, count, duration, percent } from "./format.js";
import { ask, problem } from "./session.js";
import { drawTables, nameTables } from "./tables.js";

/** Milliseconds from one answer to the next question. */
const INTERVAL = 2000;
/** Resets shown, the newest first. */
const RESETS_MAX = 20;

const PHASES = {
  streaming: "Up to date with the database",
  catching_up: "Catching up",
  standby: "Standing by",
  disconnected: "Not connected to the database",
  elsewhere: "Answering",
  unreachable: "Highwater does not answer",
};

const SLOT_USE = {
  streaming: "active, read by this instance",
  catching_up: "active, read by this instance",
  standby: "active, read by another instance",
  disconnected: "not read by this instance",
};

const REASONS = {
  truncate: "TRUNCATE, which names no rows",
  large_transaction: "one commit touched more rows than are told by id",
  no_key: "it has no primary key, so every change is a reset",
  unknown_key: "a change came without its key",
  schema: "its columns or its key changed",
  membership: "it joined the publication, or left and came back",
  slot_lost: "the slot was lost, or could not go on where it stood",
  new_history: "another history: a restored, promoted or other database",
  reload: "somebody asked for a reload",
};

/** Asks again and again, while somebody can see the page. */
export async function watch() {
  for (;;) {
    if (!document.hidden) await look();
    if (gone) return;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}

/** Whether /v1/status is not to be had here. */
let gone = false;
/** The tables that the stream named. */
let followed = [];

async function look() {
  try {
    const response = await ask("/v1/status");
    if (!response.ok) throw await problem(response);
    draw(await response.json());
    notice("");
  } catch (error) {
    if (error.status === 404) return elsewhere("Status is on the operators’ listener (http.admin_listen). Here are changes and polls.");
    if (error.status === 401 || error.status === 403) return elsewhere(`No status: ${error.message}. Here are changes and polls.`);
    headline("unreachable", error.message);
  }
}

/** There are changes and polls, but no status. */
function elsewhere(why) {
  gone = true;
  nameTables(followed);
  headline("elsewhere", "");
  notice(why);
  say(at("slot-text"), "Not told here.");
  show(at("slot-meter"), false);
  say(at("resets-empty"), "Not told here; resets from now on are among the live changes.");
}

/** Remembers the tables of the stream's first answer: where there is no status, only it names them. */
export function follows(tables) {
  followed = tables;
  if (gone) nameTables(followed);
}

function notice(text) {
  say(at("notice"), text);
  show(at("notice"), text !== "");
}

function headline(phase, why) {
  at("phase").dataset.phase = phase;
  say(at("phase"), PHASES[phase] ?? phase);
  say(at("phase-why"), why);
}

function draw(status) {
  const { source, applied, log, tables } = status;
  headline(source.phase, source.reason ?? "");
  const requests = tables.map(({ rows }) => rows.requests);
  const asked = requests.reduce((sum, r) => sum + r.hits + r.misses + r.stale, 0);
  const missed = requests.reduce((sum, r) => sum + r.misses, 0);
  describe(at("summary"), [
    ["Applied version", applied?.version ?? "none yet"],
    ["Lag", source.lag_bytes === 0 ? "none" : bytes(source.lag_bytes)],
    ["Rows from memory", percent(asked - missed, asked)],
    ["Ids remembered", `${count(log.entries)} in ${bytes(log.bytes)}`],
    ["Server last heard", heard(source.seconds_since_last_message)],
  ]);
  drawSlot(source, applied);
  drawResets(tables);
  drawTables(tables);
  say(at("about"), `Highwater ${status.highwater}, following ${source.server}`);
}

function heard(seconds) {
  return seconds === null ? "never" : `${duration(seconds)} ago`;
}

function drawSlot(source, applied) {
  const { slot_retained_bytes: kept, slot_limit_bytes: limit } = source;
  const known = kept !== null && limit !== null;
  say(at("slot-text"), known ? `Keeps ${bytes(kept)} of WAL; ${bytes(limit)} allowed for restarts` : `Keeps ${bytes(kept)} of WAL`);
  show(at("slot-meter"), known);
  if (known) {
    const share = limit === 0 ? 0 : Math.min(100, Math.round((100 * kept) / limit));
    at("slot-meter").setAttribute("aria-valuenow", String(share));
    at("slot-meter").setAttribute("aria-valuetext", `${share} % of what is allowed`);
    at("slot-meter").dataset.level = share < 80 ? "fine" : "high";
    at("slot-fill").style.setProperty("inline-size", `${share}%`);
  }
  describe(at("source"), [
    ["Slot", source.slot],
    ["In use", SLOT_USE[source.phase] ?? "not known"],
    ["WAL status", source.slot_wal_status ?? "not known"],
    ["Confirmed", source.confirmed],
    ["Applied", applied?.lsn ?? "none yet"],
    ["End of the server’s WAL", source.server_wal_end],
    ["Publication", source.publication],
    ["Server", `${source.server}${source.server_version ? `, PostgreSQL ${source.server_version}` : ""}`],
    ["Reconnections", count(source.reconnects)],
  ]);
}

function drawResets(tables) {
  const all = tables.filter(({ resets }) => resets.last);
  all.sort((a, b) => (b.resets.last.at ?? "").localeCompare(a.resets.last.at ?? ""));
  const list = at("resets");
  const items = all.slice(0, RESETS_MAX).map(({ table, resets }) => {
    const times = resets.count > 1 ? `, ${count(resets.count)} in all` : "";
    return { table, text: `${clock(resets.last.at).slice(0, 8)}${times}: ${REASONS[resets.last.reason] ?? resets.last.reason}` };
  });
  items.forEach(({ table, text }, place) => {
    const item = list.children[place] ?? list.appendChild(make("li", {}, make("strong"), make("span")));
    say(item.children[0], table);
    say(item.children[1], text);
  });
  while (list.children.length > items.length) list.lastElementChild.remove();
  show(at("resets-empty"), items.length === 0);
}
