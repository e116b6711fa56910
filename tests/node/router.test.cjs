"use strict";
/** The router for CCR 3, loaded anew for each request as CCR 3 does. Run: node --test tests/node */
const assert = require("node:assert/strict");
const fs = require("node:fs");
const { createRequire } = require("node:module");
const os = require("node:os");
const path = require("node:path");
const { after, beforeEach, describe, it } = require("node:test");

const SOURCE = path.join(__dirname, "../../src/synccr/ccr/v3/node_side/router.cjs");
const root = fs.mkdtempSync(path.join(os.tmpdir(), "router-"));
const ROUTER = path.join(root, "router.cjs");
const load = createRequire(path.join(root, "gateway.js"));
fs.copyFileSync(SOURCE, ROUTER);

const SESSION = "11111111-2222-3333-4444-555555555555";
const HAIKU = "claude-haiku-4-5";
const ROUTES = {
  default: "acme,big",
  background: "acme,small",
  think: "acme,deep",
  longContext: "acme,long",
  longContextThreshold: 100,
  webSearch: "acme,seek",
  image: "acme,eyes",
};
const NAMES = ["big", "small", "deep", "long", "seek", "eyes", "Odd"];
const models = Object.fromEntries(NAMES.map((n) => [`acme,${n.toLowerCase()}`, { to: `e,${n}` }]));
const DATA = { routes: ROUTES, models, projects: path.join(root, "ccr"), sessions: path.join(root, "claude") };

let said = [];
const real = console.error;
console.error = (...words) => said.push(words.join(" "));
after(() => {
  console.error = real;
  fs.rmSync(root, { recursive: true });
});
beforeEach(() => {
  said = [];
  write({});
});

function write(changes) {
  fs.writeFileSync(path.join(root, "routes.json"), JSON.stringify({ ...DATA, ...changes }));
}

function put(name, text) {
  const file = path.join(root, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, typeof text === "string" ? text : JSON.stringify(text));
  return file;
}

/** What CCR 3 does with a custom router, for one request. */
async function route(body, headers = {}) {
  const req = { body, headers, url: "/v1/messages", tokenCount: 1 };
  delete load.cache[ROUTER];
  const chosen = await load(ROUTER)(req, { Providers: [{ name: "e", api_key: "secret" }] }, { event: 1 });
  return { chosen, body, req };
}

const to = async (body, headers) => (await route(body, headers)).chosen;
const words = (count) => "word ".repeat(count);
const say = (content, more = {}) => ({ model: "claude-sonnet-4-5", messages: [{ role: "user", content }], ...more });
const image = () => ({ type: "image", source: { type: "base64", media_type: "image/png", data: "aGk=" } });
const remind = ({ messages, ...rest }) => ({
  messages: [...messages, { role: "system", content: "Agents: none." }],
  ...rest,
});
const system = (text) => [{ type: "text", text: "one" }, { type: "text", text }];
const TAG = "<CCR-SUBAGENT-MODEL>acme,deep</CCR-SUBAGENT-MODEL>";
const SEARCH = [{ type: "web_search_20250305", name: "web_search" }];
const THINKING = { type: "enabled", budget_tokens: 31999 };

describe("routes, in CCR 2's order", () => {
  for (const [what, body, wanted] of [
    ["nothing special", say("hi"), "e,big"],
    ["no model at all", say("hi", { model: undefined }), "e,big"],
    ["a model that is no text", say("hi", { model: 5 }), "e,big"],
    ["no messages", { model: "claude" }, "e,big"],
    ["haiku", say("hi", { model: HAIKU }), "e,small"],
    ["haiku of somebody else", say("hi", { model: "haiku-1" }), "e,big"],
    ["thinking", say("hi", { thinking: THINKING }), "e,deep"],
    ["thinking that is off, which CCR 2 takes for on", say("hi", { thinking: { type: "disabled" } }), "e,deep"],
    ["haiku before thinking", say("hi", { model: HAIKU, thinking: THINKING }), "e,small"],
    ["a search", say("hi", { tools: SEARCH }), "e,seek"],
    ["a search before thinking", say("hi", { tools: SEARCH, thinking: THINKING }), "e,seek"],
    ["haiku before a search", say("hi", { model: HAIKU, tools: SEARCH }), "e,small"],
    ["tools without a type", say("hi", { tools: [{ name: "web_search" }, null] }), "e,big"],
    ["a long prompt", say(words(200)), "e,long"],
    ["a prompt that is not long enough", say(words(50)), "e,big"],
    ["long before haiku", say(words(200), { model: HAIKU }), "e,long"],
    ["a long system prompt", say("hi", { system: words(200) }), "e,long"],
    ["a long block of it", say("hi", { system: system(words(200)) }), "e,long"],
    ["a long tool", say("hi", { tools: [{ name: "t", description: words(200) }] }), "e,long"],
    ["a long schema", say("hi", { tools: [{ name: "t", input_schema: { a: words(200) } }] }), "e,long"],
    ["a long result", say([{ type: "tool_result", content: [{ type: "text", text: words(200) }] }]), "e,long"],
    ["a long call", say([{ type: "tool_use", input: { a: words(200) } }]), "e,long"],
    ["long thinking of before, which CCR 2 does not count", say([{ type: "thinking", thinking: words(200) }]), "e,big"],
    ["a subagent", say("hi", { system: system(`${TAG}brief`) }), "e,deep"],
    ["a subagent before haiku", say("hi", { model: HAIKU, system: system(`${TAG}brief`) }), "e,deep"],
    ["long before a subagent", say(words(200), { system: system(`${TAG}brief`) }), "e,long"],
    ["a tag that is not at the beginning", say("hi", { system: system(`say ${TAG}`) }), "e,big"],
    ["a tag that does not end", say("hi", { system: system("<CCR-SUBAGENT-MODEL>acme,deep") }), "e,big"],
    ["a tag in the first block", say("hi", { system: [{ type: "text", text: TAG }] }), "e,big"],
    ["a subagent's unknown model", say("hi", { system: system("<CCR-SUBAGENT-MODEL>x,y</CCR-SUBAGENT-MODEL>") }), "x,y"],
    ["a name", say("hi", { model: "acme,deep" }), "e,deep"],
    ["a name before all others", say([image()], { model: "acme,eyes", thinking: THINKING, tools: SEARCH }), "e,eyes"],
    ["a name for a long prompt", say(words(200), { model: "acme,deep" }), "e,deep"],
    ["a name in odd capitals", say("hi", { model: " ACME,oDD " }), "e,Odd"],
    ["a name that nobody has", say("hi", { model: "acme,none" }), "acme,none"],
    ["a name out of every object", say("hi", { model: "acme,big,__proto__" }), "acme,big,__proto__"],
    ["an image", say([image()]), "e,eyes"],
    ["an image before all others", say([image(), { type: "text", text: words(200) }], { thinking: THINKING }), "e,eyes"],
    ["an image in a result", say([{ type: "tool_result", content: [image()] }]), "e,eyes"],
    ["an image, then a word of the client's", remind(say([image()])), "e,eyes"],
  ]) {
    it(`${what} -> ${wanted}`, async () => assert.equal(await to(body), wanted));
  }

  it("a route that is missing or empty is none", async () => {
    write({ routes: { default: "acme,big", think: "", longContext: null } });
    for (const body of [
      say("hi", { model: HAIKU }),
      say("hi", { thinking: THINKING }),
      say("hi", { tools: SEARCH }),
      say(words(200)),
      say([image()]),
    ]) {
      assert.equal(await to(body), "e,big");
    }
  });

  it("a route that every object has is none", async () => {
    write({ routes: { default: "constructor" } });
    assert.equal(await to(say("hi")), "constructor");
  });

  it("without a default CCR is asked to refuse", async () => {
    write({ routes: {} });
    assert.equal(await to(say("hi")), undefined);
  });

  it("CCR 2's own threshold is 60000 tokens", async () => {
    write({ routes: { ...ROUTES, longContextThreshold: undefined } });
    assert.equal(await to(say(words(50000))), "e,big");
    assert.equal(await to(say(words(70000))), "e,long");
  });

  it("other routes hold from the next request on", async () => {
    assert.equal(await to(say("hi")), "e,big");
    write({ routes: { default: "acme,deep" } });
    assert.equal(await to(say("hi")), "e,deep");
  });

  it("synccr's own first request leads nowhere", async () => {
    assert.equal(await to(say("hi"), { "x-synccr-warm-up": "1" }), undefined);
  });
});

describe("what is made of a request", () => {
  it("a subagent's tag is taken out, and nothing else", async () => {
    const { body } = await route(say("hi", { system: system(`${TAG}brief ${TAG}`) }));
    assert.equal(body.system[1].text, `brief ${TAG}`);
  });

  it("an image in a result moves beside it", async () => {
    const result = { type: "tool_result", tool_use_id: "t", content: [{ type: "text", text: "x" }, image()] };
    const { body } = await route(say([result, image()]));
    assert.deepEqual(body.messages[0].content, [
      { ...result, content: "read image successfully" },
      image(),
      image(),
    ]);
  });

  it("what the client tells the model becomes a part of the message before it", async () => {
    const text = (words) => ({ type: "text", text: words });
    const reminder = (words) => text(`<system-reminder>\n${words}\n</system-reminder>`);
    const turns = [
      { role: "user", content: "hi" },
      { role: "system", content: "Agents: none." },
      { role: "assistant", content: "hello" },
      { role: "system", content: [text("Tools: none."), { type: "tool_addition" }, text("Skills: none.")] },
      { role: "user", content: [text("go")] },
    ];
    const folded = [
      { role: "user", content: [text("hi"), reminder("Agents: none.")] },
      { role: "assistant", content: "hello" },
      { role: "user", content: [reminder("Tools: none."), reminder("Skills: none.")] },
      { role: "user", content: [text("go")] },
    ];
    const { body } = await route(say("", { messages: structuredClone(turns) }));
    assert.deepEqual(body.messages, folded);
    write({ models: { "acme,big": { to: "e,Big", anthropic: true } } });
    const raw = await route(say("", { messages: structuredClone(turns) }));
    assert.deepEqual(raw.body.messages, turns);
  });

  it("images of earlier turns are taken out, but for the image route's own model", async () => {
    const turns = () => [
      { role: "user", content: [image(), { type: "text", text: "what?" }] },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: [image()] }] },
      { role: "assistant", content: "a cat" },
      { role: "user", content: "sure?" },
    ];
    const { chosen, body } = await route(say("", { messages: turns() }));
    assert.equal(chosen, "e,big");
    assert.equal(JSON.stringify(body).includes('"image"'), false);
    assert.equal(body.messages[0].content[1].text, "what?");
    const own = await route(say("", { messages: turns(), model: "acme,eyes" }));
    assert.deepEqual(own.body.messages, turns());
    write({ routes: { default: "acme,big" } });
    assert.deepEqual((await route(say("", { messages: turns() }))).body.messages, turns());
  });

  it("limits, what is dropped, and schemas are the model's", async () => {
    const odd = { to: "e,big", cap: 10, drop: ["temperature", "metadata"], schemas: true };
    write({ models: { ...models, "acme,big": odd } });
    const ask = () =>
      say("hi", { max_tokens: 50, temperature: 1, metadata: {}, tools: [{ input_schema: { $schema: "x", a: 1 } }, 5] });
    const { body } = await route(ask());
    assert.deepEqual(body, { ...say("hi"), max_tokens: 10, tools: [{ input_schema: { a: 1 } }, 5] });
    assert.equal((await route({ ...ask(), max_tokens: 5 })).body.max_tokens, 5);
    assert.equal("max_tokens" in (await route(say("hi"))).body, false);
    const other = await route({ ...ask(), model: "acme,deep" });
    assert.deepEqual(other.body, { ...ask(), model: "acme,deep" });
  });

  for (const [thinking, wanted] of [
    [undefined, "plain"],
    [{ type: "disabled" }, "plain"],
    [{ type: "enabled", budget_tokens: 0 }, "plain"],
    [{ type: "enabled", budget_tokens: 1024 }, "low"],
    [{ type: "enabled", budget_tokens: 1025 }, "medium"],
    [{ type: "enabled", budget_tokens: 8192 }, "medium"],
    [{ type: "enabled", budget_tokens: 8193 }, "high"],
    [{ type: "enabled" }, "high"],
    [{ type: "adaptive" }, "high"],
  ]) {
    it(`${JSON.stringify(thinking)} is ${wanted}`, async () => {
      const told = { low: "e,low", medium: "e,medium", high: "e,high" };
      write({ models: { "acme,big": { to: "e,plain", thinking: told, drop: ["thinking"] } } });
      const { chosen, body } = await route(say("hi", { model: "acme,big", thinking }));
      assert.equal(chosen, `e,${wanted}`);
      assert.equal("thinking" in body, false);
    });
  }

  it("a model without ways to think is asked by its one name", async () => {
    assert.equal(await to(say("hi", { model: "acme,big", thinking: THINKING })), "e,big");
  });

  it("the system prompt is rewritten up to its last <env>", async () => {
    write({ rewrite: put("prompt.txt", "Be good. ") });
    const { body } = await route(say("hi", { system: system("a<env>b<env>c") }));
    assert.equal(body.system[1].text, "Be good. <env>c");
    assert.equal((await route(say("hi", { system: system("no") }))).body.system[1].text, "no");
    write({ rewrite: path.join(root, "none.txt") });
    assert.equal((await route(say("hi", { system: system("a<env>b") }))).body.system[1].text, "a<env>b");
    assert.match(said[0], /none.txt \(REWRITE_SYSTEM_PROMPT\) cannot be read/);
  });
});

describe("routes of projects and sessions", () => {
  const asked = (more = {}) => say("hi", { metadata: { user_id: `user_x_session_${SESSION}` }, ...more });
  const config = (name, Router) => put(`ccr/-proj/${name}.json`, { Router });

  beforeEach(() => {
    fs.rmSync(path.join(root, "ccr"), { recursive: true, force: true });
    fs.rmSync(path.join(root, "claude"), { recursive: true, force: true });
    put(`claude/-proj/${SESSION}.jsonl`, "{}");
    put("claude/-other/another.jsonl", "{}");
    put("ccr/-other/config.json", { Router: { default: "acme,long" } });
    put("ccr/config.json", "{}");
  });

  it("without them the profile's count", async () => assert.equal(await to(asked()), "e,big"));

  it("those of the project stand in the place of all others", async () => {
    config("config", { default: "acme,deep" });
    assert.equal(await to(asked()), "e,deep");
    assert.equal(await to(asked({ tools: SEARCH })), "e,deep");
    assert.equal(await to(say("hi")), "e,big");
    assert.equal(await to(asked({ metadata: { user_id: 5 } })), "e,big");
  });

  it("but for background and image, which are the profile's", async () => {
    config("config", { default: "acme,deep", background: "acme,long", image: "acme,long" });
    assert.equal(await to(asked({ model: HAIKU })), "e,small");
    assert.equal(await to({ ...asked(), messages: say([image()]).messages }), "e,eyes");
    config("config", { default: "acme,deep" });
    assert.equal(await to(asked({ model: HAIKU })), "e,small");
  });

  it("those of the session go before", async () => {
    config("config", { default: "acme,deep" });
    config(SESSION, { default: "acme,seek", think: "acme,eyes" });
    assert.equal(await to(asked()), "e,seek");
    assert.equal(await to(asked({ thinking: THINKING })), "e,eyes");
    config(SESSION, undefined);
    assert.equal(await to(asked()), "e,deep");
    put(`ccr/-proj/${SESSION}.json`, "no JSON");
    assert.equal(await to(asked()), "e,deep");
  });

  it("a name goes before them", async () => {
    config("config", { default: "acme,deep" });
    assert.equal(await to(asked({ model: "acme,seek" })), "e,seek");
  });

  it("a session's name leads out of no directory", async () => {
    put("ccr/config.json", { Router: { default: "acme,deep" } });
    put("claude/secret.jsonl", "{}");
    put("ccr/secret.json", { Router: { default: "acme,deep" } });
    for (const id of ["../secret", "-proj/../../secret", ".."]) {
      assert.equal(await to(say("hi", { metadata: { user_id: `a_session_${id}` } })), "e,big");
    }
  });
});

describe("the person's own router", () => {
  const custom = (code, more = {}) => {
    write({ custom: put(`mine-${Math.random()}.js`, code), config: { mine: 7, Providers: [] }, ...more });
  };

  it("is asked first, with CCR 2's configuration", async () => {
    custom("module.exports = async (req, c, x) => (c.mine === 7 && c.Router.think && x.event === 1 && req.url ? 'acme,Odd' : 0);");
    assert.equal(await to(say([image()], { model: "acme,deep" })), "e,Odd");
  });

  it("is shown neither keys nor addresses", async () => {
    custom("module.exports = (req, c) => (JSON.stringify(c).includes('secret') ? 'acme,deep' : 'acme,seek');");
    assert.equal(await to(say("hi")), "e,seek");
  });

  it("is told the tokens", async () => {
    custom("module.exports = (req) => (req.tokenCount > 150 ? 'acme,seek' : null);", { routes: { default: "acme,big" } });
    assert.equal(await to(say(words(200))), "e,seek");
    assert.equal(await to(say(words(100))), "e,big");
  });

  it("keeps its state", async () => {
    custom("let n = 0; module.exports = () => (++n > 1 ? 'acme,deep' : '');");
    assert.equal(await to(say("hi")), "e,big");
    assert.equal(await to(say("hi")), "e,deep");
  });

  it("sees the person's home, which is not CCR's", async () => {
    process.env.SYNCCR_HOME = "/home/person";
    try {
      custom("module.exports = () => (require('node:os').homedir() === '/home/person' ? 'acme,deep' : '');");
      assert.equal(await to(say("hi")), "e,deep");
    } finally {
      process.env.HOME = os.userInfo().homedir;
      delete process.env.SYNCCR_HOME;
    }
  });

  it("is not asked for a warm-up", async () => {
    custom("module.exports = () => 'acme,deep';");
    assert.equal(await to(say("hi"), { "x-synccr-warm-up": "1" }), undefined);
  });

  it("may change the request", async () => {
    custom("module.exports = (req) => { req.body.temperature = 0.5; };");
    assert.equal((await route(say("hi"))).body.temperature, 0.5);
  });

  for (const [what, code, line] of [
    ["throws", "\nmodule.exports = (req) => { throw new Error(JSON.stringify(req.body)); };", / in line 2;/],
    ["rejects", "module.exports = async (req) => JSON.parse(req.body.messages[0].content);", /failed/],
    ["throws no error", "module.exports = (req) => { throw req.body.messages[0].content; };", /failed;/],
    ["is no function", "module.exports = 5;", /failed/],
    ["is no JavaScript", "}{", /failed/],
    ["returns an object", "module.exports = (req) => ({ model: req.body });", /no text/],
  ]) {
    it(`is passed over when it ${what}, in one line without the prompt`, async () => {
      custom(code);
      assert.equal(await to(say("my secret prompt", { thinking: THINKING })), "e,deep");
      assert.equal(said.length, 1);
      assert.match(said[0], /^synccr: .*the routes count$/);
      assert.match(said[0], line);
      assert.doesNotMatch(said[0], /secret|prompt|\n/);
    });
  }

  it("is passed over when it is not there", async () => {
    write({ custom: path.join(root, "none.js"), config: {} });
    assert.equal(await to(say("hi")), "e,big");
    assert.equal(said.length, 1);
  });

  it("leads to an unknown model, and CCR refuses it by its name", async () => {
    custom("module.exports = () => 'nobody,none';");
    assert.equal(await to(say("hi")), "nobody,none");
  });
});

it("keeps no memory of a request, though it is loaded for each", async () => {
  for (let turn = 0; turn < 20; turn += 1) await to(say("hi"));
  delete load.cache[ROUTER];
  load(ROUTER);
  const { parent } = load.cache[ROUTER];
  assert.equal(parent.children.filter((child) => child.id === ROUTER).length, 0);
});
