"use strict";
/** The preload module, in a process that does what CCR does. Run: node --test tests/node */
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const http = require("node:http");
const net = require("node:net");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");

const PRELOAD = path.join(__dirname, "../../src/synccr/ccr/v2/node_side/preload.cjs");
const SMALL_CCR = path.join(__dirname, "small_ccr.cjs");
const SECRET = "s3cret-of-this-run";

const echo = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { url, method, headers } = request;
  if (url === "/slow") await new Promise((done) => setTimeout(done, 2500));
  if (url === "/redirect") response.writeHead(307, { location: `${provider.address}/elsewhere` });
  const body = Buffer.concat(chunks).toString();
  response.end(JSON.stringify({ who: request.socket.localPort, url, method, headers, body }));
});
const egress = { server: echo };
const provider = { server: http.createServer(echo.listeners("request")[0]) };

async function listen(one) {
  one.server.listen(0, "127.0.0.1");
  await once(one.server, "listening");
  one.port = one.server.address().port;
  one.address = `http://127.0.0.1:${one.port}`;
}

async function freePort() {
  const one = { server: net.createServer() };
  await listen(one);
  one.server.close();
  return one.port;
}

/** Start it; answers have come from `/health` when this is done. */
async function start(environ = {}, { argv = ["start"], options = ["--require", PRELOAD] } = {}) {
  const port = await freePort();
  const env = {
    ...process.env,
    SERVICE_PORT: String(port),
    SYNCCR_EGRESS: egress.address,
    SYNCCR_EGRESS_SECRET: SECRET,
    SYNCCR_ORIGINS: `https://elsewhere.example ${provider.address}/v1/chat`,
    ...environ,
  };
  const child = spawn(process.execPath, [...options, SMALL_CCR, ...argv], { env });
  let said = "";
  child.stderr.on("data", (data) => (said += data));
  const address = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 500; tries += 1) {
    const up = await fetch(`${address}/health`).then((r) => r.arrayBuffer(), () => null);
    if (up) break;
    await new Promise((done) => setTimeout(done, 20));
  }
  const ask = (body, headers = {}) =>
    fetch(`${address}/v1/messages`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "x-synccr-secret": SECRET, "x-synccr-turn": "7", ...headers },
    });
  const json = async (...words) => (await ask(...words)).json();
  return { child, port, address, ask, json, said: () => said, stop: () => child.kill() };
}

/** Bytes sent to a port as they are; all that comes back. */
async function raw(port, text) {
  const socket = net.connect(port, "127.0.0.1");
  let got = "";
  socket.on("data", (data) => (got += data));
  socket.write(text);
  await once(socket, "close");
  return got;
}

before(async () => {
  await listen(egress);
  await listen(provider);
});
after(() => {
  for (const { server } of [egress, provider]) {
    server.closeAllConnections();
    server.close();
  }
});

describe("the way to the egress", () => {
  let ccr;
  before(async () => (ccr = await start({ PLUGIN_PORT: String(await freePort()) })));
  after(() => ccr.stop());

  for (const form of ["text", "URL", "Request"]) {
    it(`leads a provider's request there, given as ${form}`, async () => {
      const url = `${provider.address}/v1/chat?key=k%20&x=1#fragment`;
      const got = JSON.parse((await ccr.json({ url, form, body: "hello" })).text);
      assert.equal(got.who, egress.port);
      assert.equal(got.url, "/v1/chat?key=k%20&x=1");
      assert.deepEqual([got.method, got.body], ["POST", "hello"]);
      assert.equal(got.headers.authorization, "Bearer k");
      assert.equal(got.headers["x-synccr-to"], `${provider.address}/v1/chat?key=k%20&x=1`);
      assert.equal(got.headers["x-synccr-turn"], "7");
      assert.equal(got.headers["x-synccr-secret"], SECRET);
    });
  }

  it("leaves other addresses alone, and tells them nothing", async () => {
    const other = { server: http.createServer(echo.listeners("request")[0]) };
    await listen(other);
    const got = JSON.parse((await ccr.json({ url: `${other.address}/x` })).text);
    assert.equal(got.who, other.port);
    assert.ok(!Object.keys(got.headers).some((name) => name.startsWith("x-synccr")));
    other.server.closeAllConnections();
    other.server.close();
  });

  it("has no use for CCR's dispatcher", async () => {
    const got = await ccr.json({ url: `${provider.address}/x`, dispatcher: true });
    assert.equal(JSON.parse(got.text).who, egress.port);
  });

  it("follows no redirect", async () => {
    const got = await ccr.json({ url: `${provider.address}/redirect` });
    assert.equal(got.status, 307);
    assert.equal(JSON.parse(got.text).who, egress.port);
  });

  it("waits for the egress longer than undici's own limits", async () => {
    const hasty = path.join(__dirname, "hasty.cjs");
    const options = ["--require", hasty, "--require", PRELOAD];
    const waiting = await start({}, { options });
    const got = await waiting.json({ url: `${provider.address}/slow` });
    const other = await waiting.json({ url: `${egress.address}/slow` });
    waiting.stop();
    assert.equal(got.status, 200);
    assert.match(other.failed, /TypeError/);
  });

  it("lets fetch complain about what is no address", async () => {
    assert.match((await ccr.json({ url: "nonsense" })).failed, /TypeError/);
    const named = provider.address.replace("//", "//me:pw@");
    assert.match((await ccr.json({ url: named })).failed, /credentials/);
  });

  it("tells 60 requests at once apart", async () => {
    const asks = Array.from({ length: 60 }, async (_, turn) => {
      const asked = { url: `${provider.address}/v1`, wait: (turn * 7) % 50 };
      const got = await ccr.json(asked, { "x-synccr-turn": String(turn) });
      return JSON.parse(got.text).headers["x-synccr-turn"];
    });
    const turns = await Promise.all(asks);
    assert.deepEqual(turns, turns.map((_, turn) => String(turn)));
  });
});

describe("CCR's own port", () => {
  let ccr;
  let pluginPort;
  before(async () => {
    pluginPort = await freePort();
    ccr = await start({ UPGRADES: "1", TWICE: "1", PLUGIN_PORT: String(pluginPort) });
  });
  after(() => ccr.stop());

  for (const wrong of ["", "s", `${SECRET}x`, SECRET.replace("s", "t"), "é".repeat(18)]) {
    it(`refuses the secret ${JSON.stringify(wrong)}`, async () => {
      const got = await ccr.ask({}, { "x-synccr-secret": wrong });
      assert.equal(got.status, 403);
      assert.match((await got.json()).error.message, /public endpoint/);
    });
  }

  it("leaves nothing but GET and HEAD of /health open", async () => {
    for (const [method, target, status] of [
      ["GET", "/health", 200],
      ["HEAD", "/health", 200],
      ["POST", "/health", 403],
      ["GET", "/health/../api/config", 403],
      ["GET", "//health", 403],
      ["GET", "http://x/health", 403],
      ["GET", "/", 403],
    ]) {
      const end = "host: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
      const got = await raw(ccr.port, `${method} ${target} HTTP/1.1\r\n${end}`);
      assert.match(got, new RegExp(`^HTTP/1.1 ${status} `), `${method} ${target}`);
    }
  });

  for (const [what, head] of [
    ["an upgrade", "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket"],
    ["CONNECT", "CONNECT x:1 HTTP/1.1\r\nhost: x"],
    ["100-continue", "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2"],
  ]) {
    it(`cannot be entered by ${what}`, async () => {
      assert.match(await raw(ccr.port, `${head}\r\n\r\n`), /^HTTP\/1.1 403 /);
    });
  }

  it("admits once what a listener emits twice", async () => {
    const known = `x-synccr-secret: ${SECRET}\r\nconnection: close\r\n`;
    const head = `POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n${known}`;
    const got = await raw(ccr.port, `${head}\r\n{}`);
    assert.match(got, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 /);
  });

  it("shows CCR neither the secret nor the turn, in no form", async () => {
    const got = await ccr.json({}, { "x-kept": "1", "X-Synccr-To": "http://x/" });
    assert.equal(got.headers["x-kept"], "1");
    assert.ok(got.raw.includes("x-kept"));
    assert.ok(got.distinct.includes("x-kept"));
    assert.ok(!JSON.stringify(got).toLowerCase().includes("x-synccr"));
    assert.ok(!JSON.stringify(got).includes(SECRET));
  });

  it("takes the configuration out of the environment", async () => {
    assert.deepEqual((await ccr.json({})).environ, []);
  });

  it("is not a plugin's own", async () => {
    assert.equal((await fetch(`http://127.0.0.1:${pluginPort}/`)).status, 200);
  });
});

describe("loading", () => {
  const works = async (ccr) => {
    const got = await ccr.json({ url: `${provider.address}/v1` });
    ccr.stop();
    return { who: JSON.parse(got.text).who, environ: got.environ };
  };

  it("does nothing without an egress", async () => {
    const ccr = await start({ SYNCCR_EGRESS: "" });
    assert.equal((await works(ccr)).who, provider.port);
    assert.equal(ccr.said(), "");
  });

  it("does nothing without a secret, so that no empty one opens the port", async () => {
    const ccr = await start({ SYNCCR_EGRESS_SECRET: "" });
    assert.equal((await works(ccr)).who, provider.port);
  });

  it("says in a line that it failed, and CCR starts", async () => {
    const ccr = await start({ SYNCCR_EGRESS: "no address" });
    assert.equal((await works(ccr)).who, provider.port);
    assert.match(ccr.said(), /^synccr: CCR's provider requests are not judged: .+\n$/);
  });

  it("leaves the environment to what is only on the way to CCR", async () => {
    const got = await works(await start({}, { argv: ["--yes", "ccr", "start"] }));
    assert.equal(got.who, provider.port);
    assert.equal(got.environ.length, 3);
  });

  it("works through NODE_OPTIONS", async () => {
    const environ = { NODE_OPTIONS: `--no-deprecation --require "${PRELOAD}"` };
    assert.equal((await works(await start(environ, { options: [] }))).who, egress.port);
  });

  it("does not send what goes to the egress through a proxy of the environment", async () => {
    const environ = { NODE_USE_ENV_PROXY: "1", HTTP_PROXY: "http://127.0.0.1:9", NO_PROXY: "" };
    assert.equal((await works(await start(environ))).who, egress.port);
  });
});
