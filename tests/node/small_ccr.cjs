"use strict";
/** A server that asks a provider as CCR does: what PROVIDER and the request's body say. */
const http = require("node:http");

async function answer(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const asked = JSON.parse(Buffer.concat(chunks).toString() || "{}");
  const seen = {
    headers: request.headers,
    distinct: Object.keys(request.headersDistinct),
    raw: request.rawHeaders,
    environ: Object.keys(process.env).filter((name) => /^SYNCCR_(?!TEST_)/.test(name)),
  };
  const reply = (value) => response.end(JSON.stringify({ ...seen, ...value }));
  if (!asked.url) return reply({});
  const init = { method: "POST", headers: { authorization: "Bearer k" }, body: asked.body ?? "" };
  if (asked.dispatcher) init.dispatcher = { dispatch: () => process.exit(9) };
  if (asked.wait) await new Promise((done) => setTimeout(done, asked.wait));
  try {
    const input = asked.form === "Request" ? new Request(asked.url, init) : asked.url;
    const given = asked.form === "URL" ? new URL(input) : input;
    const got = await (asked.form === "Request" ? fetch(given) : fetch(given, init));
    reply({ status: got.status, text: await got.text() });
  } catch (error) {
    reply({ failed: String(error) });
  }
}

const server = http.createServer(answer);
if (process.env.TWICE) {
  server.on("checkContinue", (request, response) => {
    response.writeContinue();
    server.emit("request", request, response);
  });
}
if (process.env.UPGRADES) {
  for (const event of ["upgrade", "connect"]) {
    server.on(event, (_request, socket) => socket.end("HTTP/1.1 200 OK\r\n\r\n"));
  }
}
server.listen(Number(process.env.SERVICE_PORT), "127.0.0.1");
if (process.env.PLUGIN_PORT) http.createServer(answer).listen(Number(process.env.PLUGIN_PORT));
