"use strict";
/** Every request of this process by the global dispatcher may wait for 0.1 s only. */
void globalThis.Headers;
const KEY = Symbol.for("undici.globalDispatcher.1");
const { constructor: Agent } = globalThis[KEY];
globalThis[KEY] = new Agent({ headersTimeout: 100, bodyTimeout: 100 });
