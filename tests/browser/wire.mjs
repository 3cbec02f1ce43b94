/** A wire between browser and server that can be cut. */

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Wire {
  #sockets = new Set();
  #isCut = false;

  /** Everything that comes to `wire.origin` goes to the server. */
  static async to(server, t) {
    const wire = new Wire();
    const { hostname, port } = new URL(server.origin);
    const listener = createServer((inner) => wire.#join(inner, hostname, Number(port)));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    wire.origin = `http://127.0.0.1:${listener.address().port}`;
    t.after(() => {
      wire.cut();
      listener.close();
    });
    return wire;
  }

  #join(inner, hostname, port) {
    if (this.#isCut) {
      inner.destroy();
      return;
    }
    const outer = connect(port, hostname);
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ]) {
      this.#sockets.add(one);
      one.pipe(other);
      one.on("error", () => {});
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
  }

  cut() {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#isCut = false;
  }
}
