"use strict";
/**
 * Loaded into CCR's process before CCR: `node --require preload.cjs .../cli.js start`.
 *
 * - Provider requests, which CCR makes with the global `fetch`, go to the egress instead, with
 *   the number of the client's request (the turn) that caused them.
 * - CCR's own port answers nobody but who knows the secret; `/health` stays open.
 *
 * Configuration, taken out of the environment at once so that plugins and children do not
 * inherit it. Without all of it nothing happens:
 *
 * - SYNCCR_EGRESS: the egress's origin, `http://127.0.0.1:PORT`
 * - SYNCCR_EGRESS_SECRET: what the proxy, this module and the egress know
 * - SYNCCR_ORIGINS: origins of the providers, separated by spaces
 *
 * Headers: `x-synccr-turn` and `x-synccr-secret` come in, and are gone before CCR looks;
 * both go out to the egress, with the provider's whole address in `x-synccr-to`.
 */
const { AsyncLocalStorage } = require("node:async_hooks");
const { timingSafeEqual } = require("node:crypto");
const http = require("node:http");

const TURN = "x-synccr-turn";
const SECRET = "x-synccr-secret";
const TO = "x-synccr-to";

/** Events by which a server hands out what a client asks for. */
const ASKED = new Set(["request", "checkContinue", "checkExpectation", "upgrade", "connect"]);

const REFUSAL = JSON.stringify({
  error: { type: "forbidden", message: "This port is synccr's own: use its public endpoint." },
});

/** What the environment says; null when there is nothing to do in this process. */
function takeConfiguration(environ, argv) {
  if (argv.length !== 3 || argv[2] !== "start") return null; // npx, on the way to CCR
  const { SYNCCR_EGRESS: egress, SYNCCR_EGRESS_SECRET: secret, SYNCCR_ORIGINS: origins } = environ;
  delete environ.SYNCCR_EGRESS;
  delete environ.SYNCCR_EGRESS_SECRET;
  delete environ.SYNCCR_ORIGINS;
  if (!egress || !secret) return null;
  const listed = (origins ?? "").split(" ").filter(Boolean);
  return {
    egress: new URL(egress).origin,
    secret,
    origins: new Set(listed.map((origin) => new URL(origin).origin)),
    port: Number(environ.SERVICE_PORT) || null,
  };
}

/** A test for the secret that takes as long whatever is wrong with a value of its length. */
function knows(secret) {
  const right = Buffer.from(secret, "latin1"); // as Node reads headers
  return (value) => {
    const given = Buffer.from(value ?? "", "latin1");
    return given.length === right.length && timingSafeEqual(given, right);
  };
}

/** Our headers out of every form in which Node shows them. */
function strip(request) {
  const { headers, headersDistinct, rawHeaders } = request; // read first: made from rawHeaders
  for (const name of [TURN, SECRET, TO]) {
    delete headers[name];
    delete headersDistinct[name];
  }
  for (let at = rawHeaders.length - 2; at >= 0; at -= 2) {
    if ([TURN, SECRET, TO].includes(rawHeaders[at].toLowerCase())) rawHeaders.splice(at, 2);
  }
}

/** Answer 403 to a request, or on the bare socket of an upgrade or CONNECT. */
function refuse(answer) {
  const type = "application/json";
  if (typeof answer.writeHead === "function") {
    answer.writeHead(403, { "content-type": type, connection: "close" }).end(REFUSAL);
    return;
  }
  answer.on("error", () => {}); // nobody else listens to this socket any more
  const head = `content-type: ${type}\r\ncontent-length: ${Buffer.byteLength(REFUSAL)}`;
  answer.end(`HTTP/1.1 403 Forbidden\r\n${head}\r\nconnection: close\r\n\r\n${REFUSAL}`);
}

/** `emit` for http servers that guards CCR's port and remembers each request's turn. */
function guarded(emit, turn, { secret, port }) {
  const isRight = knows(secret);
  const admitted = new WeakMap(); // a listener may emit the same request again

  function admit(request) {
    const open = request.url === "/health" && ["GET", "HEAD"].includes(request.method);
    if (!open && !isRight(request.headers[SECRET])) return false;
    admitted.set(request, request.headers[TURN] ?? "");
    strip(request);
    return true;
  }

  return function emitGuarded(event, request, answer) {
    const ours = ASKED.has(event) && (port === null || request.socket.localPort === port);
    if (!ours) return emit.apply(this, arguments);
    if (!admitted.has(request) && !admit(request)) {
      refuse(answer);
      return true;
    }
    return turn.run(admitted.get(request), () => emit.apply(this, arguments));
  };
}

/**
 * A dispatcher that waits: the egress holds answers back, and ends what takes too long itself.
 *
 * undici is not to be had by name, only its global dispatcher. NODE_USE_ENV_PROXY makes that
 * one that knows proxies; `noProxy` keeps it from them, and the plain one ignores it.
 */
function patientDispatcher() {
  void globalThis.Headers; // loads undici
  const Dispatcher = globalThis[Symbol.for("undici.globalDispatcher.1")]?.constructor;
  return Dispatcher && new Dispatcher({ headersTimeout: 0, bodyTimeout: 0, noProxy: "*" });
}

/** The address that is asked; null for one that fetch is to complain about. */
function addressOf(input) {
  try {
    const url = new URL(input?.url ?? input);
    if (url.hash) url.hash = "";
    return url.username || url.password ? null : url;
  } catch {
    return null;
  }
}

/** What fetch is asked for, as its second argument. */
async function plain(input, init) {
  if (!input?.headers) return { ...init }; // text or URL
  const { method, headers, signal } = input;
  const body = input.body && init?.body === undefined ? await input.arrayBuffer() : undefined;
  return { method, headers, signal, body, ...init };
}

/** `fetch` that goes to the egress for the providers' origins, as before for all others. */
function led(real, turn, { egress, secret, origins }) {
  const dispatcher = patientDispatcher();

  async function through(url, input, init) {
    const asked = await plain(input, init);
    const headers = new Headers(asked.headers);
    headers.set(TO, url.href);
    headers.set(TURN, turn.getStore() ?? "");
    headers.set(SECRET, secret);
    // CCR's own dispatcher is its PROXY_URL, which is the egress's business; a redirect would
    // lead past the egress, with the secret.
    const changed = { headers, dispatcher, redirect: "manual" };
    return real(egress + url.pathname + url.search, { ...asked, ...changed });
  }

  return function fetch(input, init) {
    const url = addressOf(input);
    if (!url || !origins.has(url.origin)) return real.apply(this, arguments);
    return through(url, input, init);
  };
}

function install() {
  const configuration = takeConfiguration(process.env, process.argv);
  if (!configuration) return;
  const turn = new AsyncLocalStorage();
  const emit = guarded(http.Server.prototype.emit, turn, configuration);
  globalThis.fetch = led(globalThis.fetch, turn, configuration);
  http.Server.prototype.emit = emit;
}

try {
  install();
} catch (error) {
  console.error(`synccr: CCR's provider requests are not judged: ${error.message}`);
}
