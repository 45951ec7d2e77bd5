// A real browser and well-known clients against a running Highwater:
//   node push.mjs http://127.0.0.1:8080 'psql … -c "UPDATE …"'
// Each must be told the starting point at once, and what the command changes afterwards.

import assert from "node:assert/strict";
import { execSync } from "node:child_process";
import { chromium } from "playwright-core";
import { EventSource } from "eventsource";
import WebSocket from "ws";

const [service, write] = process.argv.slice(2);
const socketUrl = service.replace(/^http/, "ws") + "/v1/ws";

/** Gathers answers; works in the page as well as here. */
function listen(EventSource, WebSocket, streamUrl, socketUrl) {
  const told = { stream: [], ids: [], socket: [] };
  const stream = new EventSource(streamUrl);
  stream.onmessage = (event) => {
    told.stream.push(JSON.parse(event.data));
    told.ids.push(event.lastEventId);
  };
  const socket = new WebSocket(socketUrl);
  socket.onopen = () => socket.send('{"subscribe":{"after":null}}');
  socket.onmessage = (event) => told.socket.push(JSON.parse(event.data));
  return told;
}

async function check(name, told) {
  const both = async (count) => {
    for (let turn = 0; turn < 200; turn++) {
      const now = await told();
      if (now.stream.length >= count && now.socket.length >= count) return now;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${name} was not told: ${JSON.stringify(await told())}`);
  };
  const first = await both(1);
  assert.ok(first.stream[0].reset.length > 0 && first.socket[0].reset.length > 0);
  execSync(write);
  const then = await both(2);
  for (const way of [then.stream, then.socket]) assert.ok(way[1].changes.length > 0);
  assert.equal(then.ids[1], then.stream[1].version);
  console.log(`${name}: ${JSON.stringify(then.stream[1])}`);
}

const here = listen(EventSource, WebSocket, `${service}/v1/stream`, socketUrl);
await check("npm eventsource and ws", async () => here);

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.goto(`${service}/livez`);
await page.evaluate(
  `globalThis.told = (${listen})(EventSource, WebSocket, "/v1/stream", "${socketUrl}")`,
);
await check(`Chromium ${browser.version()}`, () => page.evaluate("told"));

// A page of another origin: `data:` pages send "null".
const stranger = await browser.newPage();
await stranger.goto("data:text/html,<p>elsewhere");
const outcome = await stranger.evaluate(
  (url) =>
    new Promise((resolve) => {
      const socket = new WebSocket(url);
      socket.onopen = () => resolve("connected");
      socket.onerror = () => resolve("refused");
    }),
  socketUrl,
);
assert.equal(outcome, "refused");
console.log("a page of another origin: refused");
await browser.close();
process.exit(0);
