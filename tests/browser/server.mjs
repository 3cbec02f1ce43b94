/** The real server as a child process, on a storage directory of its own. */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const START_WITHIN_MS = 30_000;

function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target");
  return process.env.MIMAMORI_BIN ?? path.join(target, "debug", "mimamori");
}

/** Loopback ports are few and tests are many, but this one is ours for the moment it takes. */
export async function freePort() {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

export class Server {
  #child = null;
  #env;

  constructor(dir, settings) {
    this.dir = dir;
    this.adminToken = randomBytes(24).toString("base64url");
    this.ingestKey = randomBytes(24).toString("base64url");
    this.#env = {
      ...process.env,
      MIMAMORI_HTTP__LISTEN: "127.0.0.1:0",
      MIMAMORI_STORAGE__DIR: dir,
      MIMAMORI_STORAGE__MIN_FREE_BYTES: "1048576",
      MIMAMORI_AUTH__ADMIN_TOKEN: this.adminToken,
      MIMAMORI_AUTH__INGEST_KEY: this.ingestKey,
      MIMAMORI_LOG__FORMAT: "json",
      ...settings,
    };
  }

  /** A running server on a fresh directory; `settings` are further environment variables. */
  static async start(settings = {}) {
    const dir = await mkdtemp(path.join(tmpdir(), "mimamori-browser-"));
    const server = new Server(dir, settings);
    await server.start();
    return server;
  }

  /** Starts the process; a second time it is on the same port and the same directory. */
  async start() {
    const child = spawn(binary(), ["serve"], { env: this.#env, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    this.log = [];
    createInterface({ input: child.stderr }).on("line", (line) => this.log.push(line));
    this.origin = await this.#listening(child);
    this.#env.MIMAMORI_HTTP__LISTEN = new URL(this.origin).host;
  }

  async #listening(child) {
    const lines = createInterface({ input: child.stdout });
    const timeout = AbortSignal.timeout(START_WITHIN_MS);
    const failed = Promise.race([once(child, "exit"), once(child, "error")]).then(([why]) => {
      throw new Error(`the server did not start (${why}):\n${this.log.join("\n")}`);
    });
    const [line] = await Promise.race([once(lines, "line", { signal: timeout }), failed]);
    failed.catch(() => {});
    return JSON.parse(line).listening;
  }

  /** As a power cut would. */
  async kill() {
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
    this.#child = null;
  }

  async stop() {
    if (this.#child !== null) await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Runs another command of the program with the same configuration. */
  async command(...args) {
    const { stdout } = await promisify(execFile)(binary(), args, { env: this.#env });
    return stdout.trim();
  }

  /** Starts another command; it is ended with the test. */
  background(t, ...args) {
    const child = spawn(binary(), args, { env: this.#env, stdio: "ignore" });
    t.after(() => child.kill("SIGKILL"));
    return child;
  }

  signInLink() {
    return this.command("link", "--console");
  }

  ingestAddress() {
    return this.command("link", "--ingest");
  }

  /** Posts events as the cell-monitor extension does; all of them must be taken. */
  async post(events, { key = this.ingestKey, origin = "http://127.0.0.1:8888" } = {}) {
    const response = await fetch(`${this.origin}/api/v1/events?key=${key}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Origin: origin },
      body: JSON.stringify(events),
    });
    return response;
  }

  async accept(events) {
    const response = await this.post(events);
    const answer = await response.json();
    assert.equal(response.status, 202, JSON.stringify(answer));
    assert.equal(answer.accepted, events.length, JSON.stringify(answer));
  }

  async read(path) {
    const response = await fetch(`${this.origin}/api/v1/${path}`, {
      headers: { Authorization: `Bearer ${this.adminToken}` },
    });
    assert.equal(response.status, 200, `${path}: ${response.status}`);
    return response.json();
  }
}
