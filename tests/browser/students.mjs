/** Students whose notebooks send what the cell-monitor extension would. */

import { randomUUID } from "node:crypto";

export class StudentAtWork {
  #count = 0;

  constructor(name, { team = "チームA", notebook = "lesson1/演習1.ipynb", address } = {}) {
    this.name = name;
    this.team = team;
    this.notebook = notebook;
    this.address = address ?? `${randomUUID()}@example.ac.jp`;
  }

  event(eventType, more = {}) {
    return {
      eventId: randomUUID(),
      eventType,
      eventTime: new Date().toISOString(),
      emailAddress: this.address,
      teamName: this.team,
      userName: this.name,
      sessionId: "session-1",
      notebookPath: this.notebook,
      ...more,
    };
  }

  opens() {
    return this.event("notebook_opened");
  }

  asksForHelp() {
    return this.event("help");
  }

  runs(cellIndex, code = "print('よし')", error = null) {
    this.#count += 1;
    return this.event("cell_executed", {
      cellId: `cell-${cellIndex}`,
      cellIndex,
      cellType: "code",
      code,
      executionCount: this.#count,
      hasError: error !== null,
      ...(error === null ? {} : { errorMessage: error }),
      result: error ?? "",
      executionDurationMs: 3,
    });
  }

  fails(cellIndex, error = "NameError: name 'x' is not defined", code = "print(x)") {
    return this.runs(cellIndex, code, error);
  }
}
