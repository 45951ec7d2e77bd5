// Chromium, and the programs that it tests.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { chromium } from "playwright-core";

/** Limit of every wait, in milliseconds. */
export const TIME_LIMIT = 30_000;

/** Starts Chromium without its own background requests. */
export function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const words = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync";
  return chromium.launch({ executablePath, args: words.split(" ").map((word) => `--${word}`) });
}

/** Waits until `condition` returns a truthy value, and returns that. */
export async function until(what, condition, limit = TIME_LIMIT) {
  const started = performance.now();
  for (;;) {
    const seen = await condition();
    if (seen) return seen;
    if (performance.now() - started > limit) throw new Error(`${what}: not within ${limit} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A free port. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A program that runs until `end`. `printed` is its output so far. */
export class Program {
  static all = new Set();

  constructor(command, args) {
    this.printed = "";
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (bytes) => (this.printed = (this.printed + bytes).slice(-20_000)));
    }
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    Program.all.add(this);
    this.ended.then(() => Program.all.delete(this));
  }

  /** Sends the signal and waits for the exit code. */
  async end(signal = "SIGTERM") {
    this.child.kill(signal);
    return this.ended;
  }
}

/** Runs a check and leaves no process behind. */
export async function run(check) {
  const timer = setTimeout(() => fail(new Error("still running after four minutes")), 240_000);
  const fail = (error) => {
    console.error(error);
    for (const program of Program.all) {
      console.error(`--- ${program.child.spawnargs.join(" ")}\n${program.printed}`);
      program.child.kill("SIGKILL");
    }
    process.exit(1);
  };
  try {
    await check();
    clearTimeout(timer);
  } catch (error) {
    fail(error);
  }
}
