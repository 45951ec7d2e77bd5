// The console and the demo's playground, operated by clicks and keys in a real browser:
//
//   node console.mjs HIGHWATER PICTURES [README_PICTURE]
//
// PICTURES is a folder for pictures of the page, README_PICTURE a file for one of them.

import assert from "node:assert/strict";
import { execSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Program, launch, run, until } from "./browser.mjs";

const [highwater, pictures, readmePicture] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** The promise: a row that changes is at the top within this many milliseconds. */
const MOVED_WITHIN = 1000;

let base;
let browser;

/** Opens a page that fails the check on any browser warning or request to another origin. */
async function open(options = {}, prepare = async () => {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) complaints.push(`asked ${request.url()}`);
  });
  await prepare(page);
  await page.goto(base);
  page.expectNoComplaints = () => assert.deepEqual(complaints, []);
  return page;
}

const text = (page, selector) => page.locator(selector).first().innerText();

/** Waits for `selector` to have this text. */
async function reads(page, selector, wanted, limit) {
  const matches = async () => wanted.test(await text(page, selector));
  await until(`${selector} reads ${wanted}`, matches, limit).catch(async (error) => {
    throw new Error(`${error.message}; it reads "${await text(page, selector)}"`);
  });
}

/** The list on the right, as `update 7`, from the top. */
function received(page) {
  return page.$$eval("#received > li", (items) => items.map((item) => `${item.querySelector(".op")?.dataset.op} ${item.dataset.id}`));
}

/** Does something; `expected` must then be at the top of the list in time. */
async function moves(page, doing, expected) {
  const started = performance.now();
  await doing();
  const fits = (top) => (expected instanceof RegExp ? expected.test(top) : top === expected);
  await until(`"${expected}" is at the top`, async () => fits((await received(page))[0]), MOVED_WITHIN);
  return Math.round(performance.now() - started);
}

const button = (page, id, action) => page.locator(`#rows tr[data-id="${id}"] button[data-action="${action}"]`);

/** Pauses the other changes and waits until the list is still. */
async function quiet(page) {
  await page.click("#traffic");
  await until("other changes pause", async () => (await page.getAttribute("#traffic", "aria-pressed")) === "true");
  let before;
  await until("nothing moves", async () => {
    const now = (await received(page)).join();
    const same = now === before;
    before = now;
    await page.waitForTimeout(700);
    return same;
  });
}

async function playsTheScenario(page) {
  await until("the list has every item", async () => (await received(page)).length >= 18);
  // The last step of the scenario.
  await reads(page, "#resets", /order_lines[^]*TRUNCATE/, 60_000);
  await quiet(page);
  const times = [];
  times.push(await moves(page, () => button(page, 7, "sell").click(), "update 7"));
  times.push(await moves(page, () => button(page, 12, "raise").click(), "update 12"));
  times.push(await moves(page, () => button(page, 7, "raise").click(), "update 7"));
  assert.deepEqual((await received(page)).slice(0, 2), ["update 7", "update 12"]);
  assert.match(await text(page, "#sql"), /UPDATE items SET price = round\(price \* 1\.10, 2\) WHERE id = 7; 1 row/);
  assert.match(await text(page, "#received > li .latency"), /received \d+ ms after COMMIT/);

  await page.getByRole("button", { name: "10 % off all tea" }).click();
  const teas = await until("all tea is at the top", async () => {
    const top = (await received(page)).slice(0, 6);
    return top.every((line) => /^update (3|6|9|12|15|18)$/.test(line)) && new Set(top).size === 6;
  }, MOVED_WITHIN);
  assert.ok(teas);
  times.push(await moves(page, () => page.getByRole("button", { name: "Add an item" }).click(), "insert 1002"));
  await until("the new row is on the left", () => button(page, 1002, "remove").isVisible());
  times.push(await moves(page, () => button(page, 12, "remove").click(), "delete 12"));
  await until("the row is gone on the left", async () => (await button(page, 12, "remove").count()) === 0);
  const focused = await page.evaluate(() => document.activeElement.ariaLabel);
  assert.match(focused, /^Delete .*\(13\)$/, "focus goes to the next row");
  console.log(`the playground: rows at the top after ${times.join(", ")} ms, clicks included`);
}

async function showsLiveChanges(page) {
  const line = page.locator("#live tr").first();
  await moves(page, () => button(page, 2, "sell").click(), "update 2");
  await until("the change is live", async () => /update\s+items\s+2$/.test(await line.innerText()));
  await page.click("#live-pause");
  await moves(page, () => button(page, 3, "sell").click(), "update 3");
  await reads(page, "#live-pause", /^Resume \(1 new\)$/);
  assert.match(await line.innerText(), /items\s+2$/);
  await page.click("#live-pause");
  await until("the change is there after the pause", async () => /update\s+items\s+3$/.test(await line.innerText()));
  await page.selectOption("#live-table", "orders");
  assert.ok(!(await page.$$eval("#live tr", (rows) => rows.map((row) => row.innerText).join())).includes("items"));
  await page.selectOption("#live-table", "");
  // Many changes: the page stays as small as it was.
  await page.evaluate(async () => {
    const headers = { "Content-Type": "application/json" };
    const run = (body) => fetch("/demo/actions", { method: "POST", headers, body: JSON.stringify(body) });
    for (let turn = 0; turn < 300; turn++) await run({ action: "sell", id: 1 });
    await run({ action: "restock" });
  });
  await reads(page, "#live-foot", /of which the newest 250 are shown/);
  assert.equal(await page.locator("#live tr").count(), 250);
  assert.match(await text(page, "#announcer"), /change/);
  console.log("live changes: shown, paused, filtered, bounded");
}

async function showsTheState(page) {
  await reads(page, "#phase", /^Up to date with the database$/);
  await reads(page, "#slot-text", /^Retains [\d.]+ \w+ of WAL; 256 MiB allowed/);
  assert.match(await text(page, "#source"), /active, read by this instance[^]*reserved/);
  const items = page.locator("#tables tr", { hasText: "items" });
  assert.match(await items.innerText(), /preload: all rows/);
  assert.match(await items.innerText(), /100 % of \d+/);
  assert.match(await page.locator("#tables tr", { hasText: "customers" }).innerText(), /lazy/);
  await page.fill("#tables-filter", "order_");
  assert.deepEqual(await page.$$eval("#tables .name", (names) => names.map((name) => name.textContent)), ["order_lines"]);
  await page.fill("#tables-filter", "");
  console.log("state, slot, tables and resets: shown");
}

async function pollsByHand(page) {
  await page.fill("#poll-tables", "items");
  await page.click("#poll-ask");
  await reads(page, "#poll-status", /^200 OK/);
  assert.match(await text(page, "#poll-answer"), /"reset":\["items"\]/);
  await page.click("#poll-continue");
  await page.selectOption("#poll-wait", "30s");
  await page.check("#poll-rows");
  await page.check("#poll-detail");
  await page.keyboard.press("Tab");
  await page.click("#poll-ask");
  await reads(page, "#poll-status", /^Waiting/);
  await button(page, 4, "sell").click();
  await reads(page, "#poll-status", /^200 OK/);
  const answer = JSON.parse(await text(page, "#poll-answer"));
  assert.deepEqual(answer.changes.map(({ id, op, row }) => [id, op, row.id]), [[4, "update", 4]]);
  assert.ok(answer.changes[0].at && answer.changes[0].version);
  // The command gives the same.
  const command = await text(page, "#poll-curl");
  const again = JSON.parse(execSync(command, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  assert.deepEqual(again.changes, answer.changes);
  await page.click("#poll-copy");
  await reads(page, "#poll-copy", /^(Copied|Selected)/);
  console.log("a poll by hand: its response equals that of its curl command");
}

async function worksByKeyboard(page) {
  await page.evaluate(() => (document.activeElement.blur(), scrollTo(0, 0)));
  await page.reload();
  await until("the list is there", async () => (await received(page)).length > 0);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  assert.ok((await page.locator(".skip").boundingBox()).y >= 0, "the skip link is seen when it has the focus");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  const path = [];
  for (let turn = 0; turn < 14; turn++) {
    await page.keyboard.press("Tab");
    path.push(await page.evaluate(() => {
      const element = document.activeElement;
      const seen = getComputedStyle(element).outlineStyle !== "none";
      return `${element.ariaLabel ?? element.textContent.slice(0, 20)}${seen ? "" : " (no outline)"}`;
    }));
    if (path.at(-1).startsWith("Sell one")) break;
  }
  assert.ok(path.at(-1).startsWith("Sell one"), path.join(" → "));
  assert.ok(path.every((name) => !name.includes("no outline")), path.join(" → "));
  const id = await page.evaluate(() => document.activeElement.closest("tr").dataset.id);
  await moves(page, () => page.keyboard.press("Space"), `update ${id}`);
  assert.ok(await page.evaluate(() => document.activeElement.ariaLabel.startsWith("Sell one")), "the button keeps the focus");
  console.log(`by keyboard: skip link, ${path.join(", ")}`);
}

/** axe-core finds nothing; run in a world where the page's policy does not hold it back. */
async function isAccessible(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const violations = found.violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => node.target).join(", ")}`);
  assert.deepEqual(violations, [], name);
}

async function checkAppearance() {
  const themes = {
    light: { colorScheme: "light" },
    dark: { colorScheme: "dark" },
    narrow: { viewport: { width: 360, height: 780 }, colorScheme: "light" },
  };
  for (const [name, options] of Object.entries(themes)) {
    const page = await open({ reducedMotion: "reduce", ...options });
    await until("the list is there", async () => (await received(page)).length > 0);
    await reads(page, "#phase", /^Up to date/);
    await moves(page, () => button(page, 8, "sell").click(), "update 8");
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0, "no animation with reduced motion");
    await moves(page, () => button(page, 14, "raise").click(), "update 14");
    await moves(page, () => page.getByRole("button", { name: "Add an item" }).click(), /^insert 10\d\d$/);
    await moves(page, () => button(page, 4, "sell").click(), "update 4");
    await page.click("#poll-ask");
    await reads(page, "#poll-status", /^200 OK/);
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wider <= 0, `${name}: the page is ${wider} px wider than the window`);
    await isAccessible(page, name);
    page.expectNoComplaints();
    await page.evaluate(() => (document.activeElement.blur(), scrollTo(0, 0)));
    await page.screenshot({ path: `${pictures}/console-${name}.png`, fullPage: true });
    if (name === "light" && readmePicture) await page.screenshot({ path: readmePicture, clip: { x: 0, y: 0, width: 1280, height: 840 } });
    await page.context().close();
  }
  console.log("light, dark, narrow: no violation found by axe, nothing wider than the window");
}

/** A server that requires a token: the page asks for one, and stores it in the tab only. */
async function asksForAToken() {
  const page = await open({}, (page) =>
    page.route("**/v1/**", (route) => {
      const sent = route.request().headers().authorization;
      return sent === "Bearer right" ? route.continue() : route.fulfill({ status: 401, body: "{}" });
    }),
  );
  const dialog = page.locator("#token-dialog");
  await dialog.waitFor();
  await isAccessible(page, "the dialog");
  await page.keyboard.type("wrong");
  await page.keyboard.press("Enter");
  await reads(page, "#token-why", /not accepted/);
  await page.fill("#token", "right");
  await page.keyboard.press("Enter");
  await reads(page, "#live-state", /^live$/);
  await reads(page, "#phase", /^Up to date/);
  assert.match(await text(page, "#poll-curl"), /^curl -H "Authorization: Bearer \$HIGHWATER_TOKEN" '/);
  const kept = await page.evaluate(() => [localStorage.length, document.cookie, Object.values(sessionStorage)]);
  assert.deepEqual(kept, [0, "", ["right"]]);
  await page.context().close();
  console.log("a token is requested and stored in the tab");
}

/** With an admin listener, the main listener has no status. */
async function livesWithoutStatus() {
  const page = await open({}, (page) => page.route("**/v1/status", (route) => route.fulfill({ status: 404, body: "{}" })));
  await reads(page, "#notice", /admin listener/);
  await reads(page, "#live-state", /^live$/);
  await until("tables are named", async () => (await page.locator("#tables tr").count()) === 4);
  await isAccessible(page, "without status");
  await page.context().close();
  console.log("without status: a notice, and everything else");
}

/** Requests that no page but ours may make. */
async function refusesStrangers() {
  const ask = (headers, body = '{"action":"sale"}') =>
    fetch(`${base}demo/actions`, { method: "POST", headers, body }).then(({ status }) => status);
  const json = { "Content-Type": "application/json" };
  assert.equal(await ask({ ...json, Origin: "http://evil.example" }), 403);
  assert.equal(await ask({ ...json, Origin: "null" }), 403);
  assert.equal(await ask({ "Content-Type": "text/plain" }), 415);
  assert.equal(await ask(json, '{"action":"drop"}'), 400);
  assert.equal(await ask({ ...json, Origin: base.replace(/\/$/, "") }), 200);
  console.log("other pages can't press the buttons");
}

await run(async () => {
  const demo = new Program(highwater, ["demo", "--listen", "127.0.0.1:0"]);
  [, base] = await until("the demo is ready", () => /(http:\/\/127\.0\.0\.1:\d+\/)/.exec(demo.printed), 120_000);
  browser = await launch();
  const page = await open();
  await playsTheScenario(page);
  await showsLiveChanges(page);
  await showsTheState(page);
  await pollsByHand(page);
  await worksByKeyboard(page);
  page.expectNoComplaints();
  await checkAppearance();
  await asksForAToken();
  await livesWithoutStatus();
  await refusesStrangers();
  assert.equal(await demo.end("SIGINT"), 0);
  await reads(page, "#phase", /^Highwater does not respond$/);
  await reads(page, "#live-state", /^not connected/);
  await browser.close();
  console.log("console: fine");
});
