import { describe, expect, it, vi } from "vitest";

import { ageText } from "./clock";
import { curlLine, isLoopback, overridesJson, pasteableAddress } from "./instructions";
import { tokenOfFragment, tokenOfPaste } from "./token";
import { words } from "./words";

vi.hoisted(() => vi.useFakeTimers());

describe("ages", () => {
  const now = Date.parse("2026-01-02T00:00:00.000Z");

  it.each([
    ["2026-01-01T23:59:48.100Z", "11 s"],
    ["2026-01-01T23:55:59.000Z", "4 min"],
    ["2026-01-01T21:55:00.000Z", "2 h 5 min"],
    ["2025-12-30T00:00:00.000Z", "3 d"],
    ["2026-01-02T00:00:05.000Z", "0 s"],
    ["no time", "–"],
  ])("%s is told as %s", (time, text) => {
    expect(ageText(time, now)).toBe(text);
  });
});

describe("sign-in tokens", () => {
  it("are read from a fragment, also where base64 has a plus", () => {
    expect(tokenOfFragment("#token=a+b%2Fc=")).toBe("a+b/c=");
    expect(tokenOfFragment("#view=1&token=abc")).toBe("abc");
    expect(tokenOfFragment("#tokens=abc")).toBeNull();
    expect(tokenOfFragment("#token=")).toBeNull();
    expect(tokenOfFragment("")).toBeNull();
  });

  it("are read from a whole link or taken as they are", () => {
    expect(tokenOfPaste(" http://127.0.0.1:8000/#token=abc \n")).toBe("abc");
    expect(tokenOfPaste("token=abc")).toBe("abc");
    expect(tokenOfPaste("abc-_.~")).toBe("abc-_.~");
    expect(tokenOfPaste("http://127.0.0.1:8000/")).toBeNull();
    expect(tokenOfPaste("two words")).toBeNull();
    expect(tokenOfPaste("")).toBeNull();
  });
});

describe("what to copy", () => {
  it("is an address with the key in it, whichever way the server gives it", () => {
    const plain = "http://10.0.0.1:8000/api/v1/events";
    expect(pasteableAddress(plain, "K1")).toBe(`${plain}?key=K1`);
    expect(pasteableAddress(`${plain}?key=K1`, "K1")).toBe(`${plain}?key=K1`);
    expect(pasteableAddress("http://10.0.0.1:8000/k/K1/api/v1/events", "K1")).toContain("/k/K1/");
  });

  it("is settings that JupyterLab can read", () => {
    expect(JSON.parse(overridesJson("http://h/?key=K"))).toEqual({
      "cell-monitor:plugin": { serverUrl: "http://h/?key=K" },
    });
  });

  it("is a line for the shell that fills in the time", () => {
    const line = curlLine("http://h/it's?key=K");

    expect(line).toContain(`'http://h/it'\\''s?key=K'`);
    expect(line).toContain(`"eventTime":"'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'"`);
  });

  it("is known to reach this machine only", () => {
    expect(["http://127.0.0.1:8000/", "http://localhost/", "http://[::1]:8000/"].every(isLoopback)).toBe(true);
    expect(["http://10.0.0.1/", "https://hub.example/", "nonsense"].some(isLoopback)).toBe(false);
  });
});

describe("alerts", () => {
  it.each(["errors_in_a_row", "runs_not_reported", "kernel_restarted", "shared_identity"])(
    "of the kind %s have words of their own",
    (kind) => {
      expect(words.alerts.kind(kind)).not.toBe(kind.replaceAll("_", " "));
      expect(words.alerts.meaning(kind).length).toBeGreaterThan(40);
    },
  );

  it("of a later version are told by their kind", () => {
    expect(words.alerts.kind("battery_low")).toBe("battery low");
    expect(words.alerts.meaning("battery_low")).toBe("");
  });
});
