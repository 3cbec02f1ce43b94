/** What the Connect page gives to copy, filled in. Pure. */

/** The plugin id of the cell-monitor extension 1.x: its package name and `schema/plugin.json`. */
export const CELL_MONITOR_PLUGIN = "cell-monitor:plugin";

/** An ingest address that works where only an address can be given: with the key in it. */
export function pasteableAddress(ingestUrl: string, key: string): string {
  if (ingestUrl.includes(key) || ingestUrl.includes(encodeURIComponent(key))) return ingestUrl;
  const url = new URL(ingestUrl);
  url.searchParams.set("key", key);
  return url.href;
}

/** Settings for everybody on a JupyterLab, as its `overrides.json` has them. */
export function overridesJson(address: string): string {
  return `${JSON.stringify({ [CELL_MONITOR_PLUGIN]: { serverUrl: address } }, null, 2)}\n`;
}

/**
 * One event of a made-up student, to be pasted into a terminal. The shell
 * fills in the time: pasted again it is a new event, not a duplicate.
 */
export function curlLine(address: string): string {
  const event = {
    eventType: "cell_executed",
    eventTime: TIME,
    emailAddress: "tryout@example.com",
    userName: "Tryout",
    notebookPath: "tryout.ipynb",
    cellId: "first",
    cellIndex: 0,
    cellType: "code",
    code: "1 + 1",
    executionCount: 1,
    hasError: false,
    result: "2",
  };
  const body = quoted(JSON.stringify([event])).replace(TIME, `'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'`);
  return `curl -sS ${quoted(address)} -H ${quoted("Content-Type: application/json")} -d ${body}`;
}

/** Stands where the time will. */
const TIME = "TIME";

/** For a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Whether an address reaches only the machine it is used on. */
export function isLoopback(address: string): boolean {
  try {
    const { hostname } = new URL(address);
    return hostname === "localhost" || hostname === "[::1]" || /^127\./.test(hostname);
  } catch {
    return false;
  }
}
