"use strict";
/** Every request of this process waits for 0.1 s only, unless its dispatcher was told better. */
void globalThis.Headers;
const KEY = Symbol.for("undici.globalDispatcher.1");
const { constructor: Agent } = globalThis[KEY];

class Hasty extends Agent {
  constructor(options) {
    super({ headersTimeout: 100, bodyTimeout: 100, ...options });
  }
}

globalThis[KEY] = new Hasty();
