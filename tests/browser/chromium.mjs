/** A page in Debian's Chromium, with everything that went wrong in it written down. */

import { mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const SHOTS = fileURLToPath(new URL("shots", import.meta.url));
const WITHIN_MS = 20_000;

export async function launch() {
  const isRoot = process.getuid?.() === 0;
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: isRoot ? ["--no-sandbox"] : [],
  });
}

export class Tab {
  /** What the page wrote as an error, or threw. */
  faults = [];
  #waiting = [];

  constructor(page) {
    this.page = page;
    page.setDefaultTimeout(WITHIN_MS);
    page.on("console", (message) => {
      if (message.type() === "error") this.faults.push(message.text());
    });
    page.on("pageerror", (error) => this.faults.push(String(error)));
    page.on("dialog", (dialog) => {
      this.faults.push(`a dialog said ${dialog.message()}`);
      void dialog.dismiss();
    });
  }

  static async open(browser, options = {}) {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 720 },
      locale: "en-GB",
      ...options,
    });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    return new Tab(await context.newPage());
  }

  /** Waits until something with this text is seen. */
  async sees(text) {
    await this.page.getByText(text).first().waitFor();
  }

  async seesConnection(kind) {
    await this.page.locator(`[data-connection="${kind}"]`).waitFor();
  }

  row(name) {
    return this.page.locator("tbody tr").filter({ hasText: name });
  }

  /** Waits until the row of this student shows this status. */
  async seesStatus(name, status) {
    await this.row(name).locator(".pill").filter({ hasText: status }).waitFor();
  }

  /** Waits until the function, run in the page, answers true. */
  async until(inPage, argument) {
    await this.page.waitForFunction(inPage, argument, { timeout: WITHIN_MS });
  }

  /** Every live socket of the page from now on, with the frames that went over it. */
  recordSockets() {
    const sockets = [];
    this.page.on("websocket", (socket) => {
      const record = { sent: [], received: [] };
      sockets.push(record);
      socket.on("framesent", ({ payload }) => record.sent.push(JSON.parse(payload)));
      socket.on("framereceived", ({ payload }) => {
        const frame = JSON.parse(payload);
        record.received.push(frame);
        this.#waiting.filter((wait) => wait.type === frame.type).forEach((wait) => wait.resolve(frame));
      });
    });
    return sockets;
  }

  /** The next frame of this type; sockets must be recorded. */
  receives(type) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ type, resolve });
      AbortSignal.timeout(WITHIN_MS).addEventListener("abort", () => reject(new Error(`no ${type} came`)));
    });
  }

  names() {
    return this.page.locator("tbody tr .name").allTextContents();
  }

  async shot(name) {
    await mkdir(SHOTS, { recursive: true });
    await this.page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  }

  /** What went wrong, but for what this test brought about itself. */
  faultsBut(...expected) {
    return this.faults.filter((fault) => !expected.some((pattern) => pattern.test(fault)));
  }
}
