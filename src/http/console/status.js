// The state of the service from /v1/status: the headline, the slot, the resets.

import { at, describe, make, say, show } from "./dom.js";
import { bytes, clock, count, duration, percent } from "./format.js";
import { ask, problem } from "./session.js";
import { drawTables, nameTables } from "./tables.js";

/** The pause between a response and the next request, in milliseconds. */
const INTERVAL = 2000;
/** The maximum number of resets shown, the newest first. */
const RESETS_MAX = 20;

const PHASES = {
  streaming: "Up to date with the database",
  catching_up: "Catching up",
  standby: "Standing by",
  disconnected: "Not connected to the database",
  hidden: "Serving requests",
  unreachable: "Highwater does not respond",
};

const SLOT_USE = {
  streaming: "active, read by this instance",
  catching_up: "active, read by this instance",
  standby: "active, read by another instance",
  disconnected: "not read by this instance",
};

const REASONS = {
  truncate: "TRUNCATE, which lists no rows",
  large_transaction: "one transaction changed more rows than are reported by id",
  no_key: "no primary key, so every change is a reset",
  unknown_key: "a change arrived without its key",
  schema: "columns or key changed",
  membership: "added to the publication, or removed and added again",
  slot_lost: "the slot was lost or could not continue from its position",
  new_history: "another timeline: a restored, promoted or different database",
  reload: "a reload was requested",
};

/** Requests the status at intervals while the page is visible. */
export async function watch() {
  for (;;) {
    if (!document.hidden) await refresh();
    if (unavailable) return;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}

/** Whether /v1/status is not available to this page. */
let unavailable = false;
/** The tables in the stream's first response. */
let followed = [];

async function refresh() {
  try {
    const response = await ask("/v1/status");
    if (!response.ok) throw await problem(response);
    draw(await response.json());
    notice("");
  } catch (error) {
    if (error.status === 404) return withoutStatus("Status is on the admin listener (http.admin_listen). Changes and polls are available here.");
    if (error.status === 401 || error.status === 403) return withoutStatus(`No status: ${error.message}. Changes and polls are available here.`);
    headline("unreachable", error.message);
  }
}

/** Shows the page without the status: changes and polls only. */
function withoutStatus(why) {
  unavailable = true;
  nameTables(followed);
  headline("hidden", "");
  notice(why);
  say(at("slot-text"), "Not available here.");
  show(at("slot-meter"), false);
  say(at("resets-empty"), "Not available here; new resets are among the live changes.");
}

/** Stores the tables of the stream's first response: without the status, only it lists them. */
export function follows(tables) {
  followed = tables;
  if (unavailable) nameTables(followed);
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
    ["Ids in the log", `${count(log.entries)} in ${bytes(log.bytes)}`],
    ["Last server message", lastMessage(source.seconds_since_last_message)],
  ]);
  drawSlot(source, applied);
  drawResets(tables);
  drawTables(tables);
  say(at("about"), `Highwater ${status.highwater}, following ${source.server}`);
}

function lastMessage(seconds) {
  return seconds === null ? "never" : `${duration(seconds)} ago`;
}

function drawSlot(source, applied) {
  const { slot_retained_bytes: kept, slot_limit_bytes: limit } = source;
  const known = kept !== null && limit !== null;
  say(at("slot-text"), known ? `Retains ${bytes(kept)} of WAL; ${bytes(limit)} allowed for restarts` : `Retains ${bytes(kept)} of WAL`);
  show(at("slot-meter"), known);
  if (known) {
    const share = limit === 0 ? 0 : Math.min(100, Math.round((100 * kept) / limit));
    at("slot-meter").setAttribute("aria-valuenow", String(share));
    at("slot-meter").setAttribute("aria-valuetext", `${share} % of the allowed size`);
    at("slot-meter").dataset.level = share < 80 ? "fine" : "high";
    at("slot-fill").style.setProperty("inline-size", `${share}%`);
  }
  describe(at("source"), [
    ["Slot", source.slot],
    ["In use", SLOT_USE[source.phase] ?? "unknown"],
    ["WAL status", source.slot_wal_status ?? "unknown"],
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
