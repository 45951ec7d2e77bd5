// A real browser's EventSource and WebSocket, and well-known clients, against a real Highwater that is
// restarted meanwhile:
//
//   node push.mjs HIGHWATER PYTHON
//
// PGHOST, PGUSER and PGDATABASE name an empty database, PYTHON is one that has the clients' packages.

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

/** Gathers what is told; works in a page as well as here. */
function listen(EventSource, WebSocket, streamUrl, socketUrl) {
  const told = { stream: [], ids: [], socket: [], closed: null };
  const stream = new EventSource(streamUrl);
  stream.onmessage = (event) => {
    told.stream.push(JSON.parse(event.data));
    told.ids.push(event.lastEventId);
  };
  const connect = (after) => {
    const socket = new WebSocket(socketUrl);
    socket.onopen = () => socket.send(JSON.stringify({ subscribe: { after } }));
    socket.onmessage = (event) => told.socket.push(JSON.parse(event.data));
    // A WebSocket does not come back by itself: a client does so, with its last version.
    socket.onclose = (event) => {
      told.closed ??= event.code;
      setTimeout(connect, 200, told.socket.at(-1)?.version ?? null);
    };
    socket.onerror = () => {};
  };
  connect(null);
  return told;
}

/** `insert 1, update 2`, of all answers together; resets after the starting point would stand out. */
function story(answers) {
  const words = answers.slice(1).flatMap(({ reset, changes }) => [
    ...reset.map((table) => `reset ${table}`),
    ...changes.map(({ op, id }) => `${op} ${id}`),
  ]);
  return words.join(", ");
}

/** Waits until both ways have told exactly this. */
async function hear(name, told, expected) {
  const all = () => told().then(({ stream, socket }) => [story(stream), story(socket)]);
  const heard = () => all().then((both) => both.every((one) => one === expected));
  await until(`${name} is told "${expected}"`, heard).catch(async (error) => {
    throw new Error(`${error.message}; it was told ${JSON.stringify(await all())}`);
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
  await page.evaluate(`globalThis.told = (${listen})(EventSource, WebSocket, "/v1/stream", "${socketUrl}")`);
  const here = listen(EventSource, WebSocket, `${base}/v1/stream`, socketUrl);
  const clients = [
    [`Chromium ${browser.version()}`, () => page.evaluate("told")],
    ["npm eventsource and ws", async () => structuredClone(here)],
  ];
  const everybody = async (expected) => {
    for (const [name, told] of clients) await hear(name, told, expected);
  };

  for (const [name, told] of clients) {
    const first = () => told().then(({ stream, socket }) => stream[0] && socket[0]);
    await until(`${name} has a starting point`, first);
    const { stream, socket } = await told();
    assert.deepEqual([stream[0].reset, socket[0].reset], [["items"], ["items"]], name);
  }
  psql("INSERT INTO items VALUES (1, 'a')");
  await everybody("insert 1");
  console.log("told of a commit by stream and by socket");

  const before = (await page.evaluate("told")).ids.at(-1);
  assert.equal(await service.end("SIGTERM"), 0);
  psql("INSERT INTO items VALUES (2, 'b')");
  service = await serve();
  await everybody("insert 1, insert 2");
  for (const [name, told] of clients) {
    const { stream, ids, closed } = await told();
    assert.equal(closed, 1001, `${name}: the close code of a service that ends`);
    assert.deepEqual(ids, stream.map(({ version }) => version), `${name}: ids are versions`);
  }
  assert.ok(resumed.includes(before), `Chromium sent Last-Event-ID ${before}: ${resumed}`);
  console.log("a restart: EventSource resumes by Last-Event-ID, nothing is told twice or as a reset");

  await service.end("SIGKILL");
  psql("UPDATE items SET name = 'c' WHERE id = 1; DELETE FROM items WHERE id = 2");
  service = await serve();
  await everybody("insert 1, insert 2, update 1, delete 2");
  console.log("kill -9: the same");

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
  console.log("a page of another origin is refused a socket");
  await browser.close();

  const write = `psql --quiet --command "UPDATE items SET name = 'd'"`;
  console.log(execFileSync(python, ["client.py", base, write], { encoding: "utf8" }).trim());
  await service.end();
  console.log("push: fine");
  process.exit(0);
});
