// A real browser's EventSource and WebSocket, and well-known client libraries, against a Highwater that is
// restarted meanwhile:
//
//   node push.mjs HIGHWATER PYTHON
//
// PGHOST, PGUSER and PGDATABASE name an empty database, PYTHON is an interpreter with the clients' packages.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { EventSource } from "eventsource";
import WebSocket from "ws";
import { Program, freePort, launch, run, until } from "./browser.mjs";

const [highwater, python] = process.argv.slice(2);
const { PGHOST, PGUSER, PGDATABASE } = process.env;
const port = await freePort();
const base = `http://127.0.0.1:${port}`;
const socketUrl = `ws://127.0.0.1:${port}/v1/ws`;

function psql(sql) {
  execFileSync("psql", ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command", sql]);
}

async function serve() {
  const url = `host=${PGHOST} user=${PGUSER} dbname=${PGDATABASE}`;
  const program = new Program(highwater, ["run", "--url", url, "--listen", `127.0.0.1:${port}`]);
  await until("Highwater is ready", () => fetch(`${base}/readyz`).then((answer) => answer.ok, () => false));
  return program;
}

/** Collects all messages; runs in a page as well as in Node.js. */
function listen(EventSource, WebSocket, streamUrl, socketUrl) {
  const received = { stream: [], ids: [], socket: [], closed: null };
  const stream = new EventSource(streamUrl);
  stream.onmessage = (event) => {
    received.stream.push(JSON.parse(event.data));
    received.ids.push(event.lastEventId);
  };
  const connect = (after) => {
    const socket = new WebSocket(socketUrl);
    socket.onopen = () => socket.send(JSON.stringify({ subscribe: { after } }));
    socket.onmessage = (event) => received.socket.push(JSON.parse(event.data));
    // A WebSocket does not reconnect by itself: the client must, with its last version.
    socket.onclose = (event) => {
      received.closed ??= event.code;
      setTimeout(connect, 200, received.socket.at(-1)?.version ?? null);
    };
    socket.onerror = () => {};
  };
  connect(null);
  return received;
}

/** `insert 1, update 2`, of all messages together; resets after the starting point would be visible. */
function summary(answers) {
  const words = answers.slice(1).flatMap(({ reset, changes }) => [
    ...reset.map((table) => `reset ${table}`),
    ...changes.map(({ op, id }) => `${op} ${id}`),
  ]);
  return words.join(", ");
}

/** Waits until stream and socket have received exactly this. */
async function expectAll(name, received, expected) {
  const texts = () => received().then(({ stream, socket }) => [summary(stream), summary(socket)]);
  const matches = () => texts().then((both) => both.every((one) => one === expected));
  await until(`${name} receives "${expected}"`, matches).catch(async (error) => {
    throw new Error(`${error.message}; it received ${JSON.stringify(await texts())}`);
  });
}

await run(async () => {
  psql("CREATE TABLE items (id int PRIMARY KEY, name text); CREATE PUBLICATION highwater FOR TABLE items");
  let service = await serve();

  const browser = await launch();
  const page = await browser.newPage();
  const resumed = [];
  page.on("request", async (request) => {
    if (!request.url().endsWith("/v1/stream")) return;
    const headers = await request.allHeaders().catch(() => ({}));
    if (headers["last-event-id"]) resumed.push(headers["last-event-id"]);
  });
  await page.goto(`${base}/livez`);
  await page.evaluate(`globalThis.received = (${listen})(EventSource, WebSocket, "/v1/stream", "${socketUrl}")`);
  const here = listen(EventSource, WebSocket, `${base}/v1/stream`, socketUrl);
  const clients = [
    [`Chromium ${browser.version()}`, () => page.evaluate("received")],
    ["npm eventsource and ws", async () => structuredClone(here)],
  ];
  const everyClient = async (expected) => {
    for (const [name, received] of clients) await expectAll(name, received, expected);
  };

  for (const [name, received] of clients) {
    const first = () => received().then(({ stream, socket }) => stream[0] && socket[0]);
    await until(`${name} has a starting point`, first);
    const { stream, socket } = await received();
    assert.deepEqual([stream[0].reset, socket[0].reset], [["items"], ["items"]], name);
  }
  psql("INSERT INTO items VALUES (1, 'a')");
  await everyClient("insert 1");
  console.log("a commit is received by stream and by socket");

  const before = (await page.evaluate("received")).ids.at(-1);
  assert.equal(await service.end("SIGTERM"), 0);
  psql("INSERT INTO items VALUES (2, 'b')");
  service = await serve();
  await everyClient("insert 1, insert 2");
  for (const [name, received] of clients) {
    const { stream, ids, closed } = await received();
    assert.equal(closed, 1001, `${name}: the close code of a service that ends`);
    assert.deepEqual(ids, stream.map(({ version }) => version), `${name}: ids are versions`);
  }
  assert.ok(resumed.includes(before), `Chromium sent Last-Event-ID ${before}: ${resumed}`);
  console.log("a restart: EventSource resumes by Last-Event-ID, nothing is received twice or as a reset");

  await service.end("SIGKILL");
  psql("UPDATE items SET name = 'c' WHERE id = 1; DELETE FROM items WHERE id = 2");
  service = await serve();
  await everyClient("insert 1, insert 2, update 1, delete 2");
  console.log("kill -9: the same");

  // A page of another origin: `data:` pages send "null".
  const foreignPage = await browser.newPage();
  await foreignPage.goto("data:text/html,<p>elsewhere");
  const outcome = await foreignPage.evaluate(
    (url) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => resolve("connected");
        socket.onerror = () => resolve("refused");
      }),
    socketUrl,
  );
  assert.equal(outcome, "refused");
  console.log("a page of another origin is refused a socket");
  await browser.close();

  const write = `psql --quiet --command "UPDATE items SET name = 'd'"`;
  console.log(execFileSync(python, ["client.py", base, write], { encoding: "utf8" }).trim());
  await service.end();
  console.log("push: fine");
  process.exit(0);
});
