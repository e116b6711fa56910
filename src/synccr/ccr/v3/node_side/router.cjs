"use strict";
/**
 * Routes of a Claude Code Router 2.x configuration, for CCR 3 (CUSTOM_ROUTER_PATH).
 *
 * CCR 3 has no `Router`: it asks this file for each request, and loads it anew each time. What
 * leads where is in `routes.json` beside it, read for each request as well, so that other routes
 * hold from the next request on. Order and conditions are those of CCR 2.0.0.
 *
 * `routes.json`, made by `translation.py`:
 * - routes: `Router`
 * - models: by "provider,model" in small letters, what CCR 3 is asked for it:
 *   - to: "entry,model"; thinking: the same by how much the model is to think
 *   - cap: most `max_tokens`; drop: what of the request is not passed on
 *   - schemas: `$schema` of tools is not passed on
 *   - anthropic: it is asked in Anthropic's form, in which the client wrote the request
 * - custom: the person's own CUSTOM_ROUTER_PATH, asked first, and config: what it is shown
 * - rewrite: REWRITE_SYSTEM_PROMPT
 * - projects, sessions: where CCR 2 keeps routes of projects, and Claude Code its sessions
 *
 * Nothing of a request is ever printed.
 */
const fs = require("node:fs");
const path = require("node:path");

const LONG = 60000;
const TAG = /^<CCR-SUBAGENT-MODEL>(.*?)<\/CCR-SUBAGENT-MODEL>/s;
const NOTE = "[An image of an earlier turn, which cannot be looked at again here.]";

/** What is a token of cl100k, which CCR 2 counts by, mostly: parts of words, digits, signs. */
const TOKEN = new RegExp(
  [
    "[A-Z]?[a-z]{1,8}|[A-Z]{1,3}|\\p{N}{1,3}",
    "[\\u2e80-\\uffff]|[^\\P{L}A-Za-z\\u2e80-\\uffff]{1,2}",
    "[^\\s\\p{L}\\p{N}]{1,3}[\\r\\n]*|\\s*[\\r\\n]+|\\s{2,}",
  ].join("|"),
  "gu",
);

const list = (value) => (Array.isArray(value) ? value : []);
const textOf = (value) => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""));
const blocksOf = (content) =>
  typeof content === "string" ? [{ type: "text", text: content }] : list(content);
const isImage = (block) => block?.type === "image";
const holdsImage = (block) => isImage(block) || list(block?.content).some(isImage);
const say = (what) => console.error(`synccr: ${what}`);

/** About how many tokens CCR 2 would count; it looks at no image outside a tool's result. */
function countTokens({ messages, system, tools }) {
  const texts = [];
  for (const { content } of list(messages)) {
    if (typeof content === "string") texts.push(content);
    for (const block of list(content)) {
      if (block?.type === "text") texts.push(textOf(block.text));
      else if (block?.type === "tool_use") texts.push(textOf(block.input));
      else if (block?.type === "tool_result") texts.push(textOf(block.content));
    }
  }
  if (typeof system === "string") texts.push(system);
  texts.push(...list(system).map((block) => textOf(block?.text)));
  for (const tool of list(tools)) {
    if (tool?.description) texts.push(`${tool.name}${tool.description}`);
    if (tool?.input_schema) texts.push(textOf(tool.input_schema));
  }
  return texts.reduce((sum, text) => sum + (text.match(TOKEN)?.length ?? 0), 0);
}

/** The model that the second system block names for a subagent; the tag is taken out. */
function subagent(body) {
  const block = list(body.system)[1];
  const tag = typeof block?.text === "string" ? TAG.exec(block.text) : null;
  if (tag) block.text = block.text.slice(tag[0].length);
  return tag?.[1];
}

/**
 * A last message with an image goes to the image route; images in tools' results move beside
 * them. For other models CCR 2 takes earlier images out, and so does this: most cannot take them.
 */
function routeImages(body, routes) {
  const messages = list(body.messages);
  if (!routes.image || body.model === routes.image) return;
  const last = messages.filter((turn) => turn?.role !== "system").at(-1);
  if (last?.role === "user" && list(last.content).some(holdsImage)) {
    body.model = routes.image;
    for (const result of last.content.filter((block) => block?.type === "tool_result")) {
      if (!Array.isArray(result.content)) continue;
      last.content.push(...result.content.filter(isImage));
      result.content = "read image successfully";
    }
    return;
  }
  const note = { type: "text", text: NOTE };
  for (const { content } of messages.filter(({ role }) => role === "user")) {
    for (const [index, block] of list(content).entries()) {
      if (isImage(block)) content[index] = note;
      else if (holdsImage(block)) block.content = NOTE;
    }
  }
}

/** The route that CCR 2.0.0 would take. */
function scenario(body, tokens, routes, all) {
  if (routes.longContext && tokens() > (routes.longContextThreshold || LONG)) {
    return routes.longContext;
  }
  const named = subagent(body);
  if (named) return named;
  const model = String(body.model ?? "");
  if (model.includes("claude") && model.includes("haiku") && all.background) {
    return all.background; // CCR 2 looks at no project here
  }
  const searches = (tool) => tool?.type?.startsWith?.("web_search");
  if (routes.webSearch && list(body.tools).some(searches)) return routes.webSearch;
  if (routes.think && body.thinking) return routes.think;
  return routes.default;
}

/** What CCR 2 calls a session: the end of the user id that Claude Code sends. */
function sessionOf(body) {
  const id = body.metadata?.user_id;
  const session = typeof id === "string" ? id.split("_session_")[1] : undefined;
  return session && path.basename(session) === session ? session : undefined;
}

function routerIn(file) {
  try {
    return JSON.parse(fs.readFileSync(file, "utf8")).Router || undefined;
  } catch {
    return undefined; // not there, or no JSON: CCR 2 goes on as well
  }
}

/** Routes of the session's own file, else of its project's; undefined without either. */
function projectRoutes(session, { projects, sessions }) {
  if (!session) return undefined;
  let names;
  try {
    names = fs.readdirSync(projects, { withFileTypes: true }).filter((one) => one.isDirectory());
  } catch {
    return undefined;
  }
  for (const { name } of names) {
    if (!fs.existsSync(path.join(sessions, name, `${session}.jsonl`))) continue;
    const own = path.join(projects, name);
    return routerIn(path.join(own, `${session}.json`)) ?? routerIn(path.join(own, "config.json"));
  }
  return undefined;
}

async function rewriteSystem(body, file) {
  const block = list(body.system)[1];
  if (!file || typeof block?.text !== "string" || !block.text.includes("<env>")) return;
  try {
    const text = await fs.promises.readFile(file, "utf8");
    block.text = `${text}<env>${block.text.split("<env>").pop()}`;
  } catch {
    say(`${file} (REWRITE_SYSTEM_PROMPT) cannot be read; the prompt stays as it is`);
  }
}

/** What the person's own router says; when it says nothing, or throws, the routes count. */
async function custom({ custom: file, config, routes }, req, context) {
  if (!file) return undefined;
  // CCR's own home is its directory; a person's router looks for files in theirs.
  const home = process.platform === "win32" ? "USERPROFILE" : "HOME";
  if (process.env.SYNCCR_HOME) process.env[home] = process.env.SYNCCR_HOME;
  try {
    const chosen = await require(file)(req, { ...config, Router: routes }, context);
    if (typeof chosen === "string" || !chosen) return chosen || undefined;
    say(`${file} returned something that is no text; the routes count`);
  } catch (error) {
    // Its message may quote the request.
    const line = String(error?.stack).split(`${file}:`)[1]?.match(/^\d+/)?.[0];
    say(`${file} failed${line ? ` in line ${line}` : ""}; the routes count`);
  }
  return undefined;
}

/**
 * What Claude Code tells the model between turns (role `system`) goes into the person's message
 * before it, marked as Claude Code marks its reminders. CCR 3 would make it their last words.
 */
function foldReminders(body) {
  const turns = [];
  for (const turn of list(body.messages)) {
    if (turn?.role !== "system") {
      turns.push(turn);
      continue;
    }
    const words = blocksOf(turn.content).filter((block) => block?.type === "text");
    const reminders = words.map(({ text }) => ({
      type: "text",
      text: `<system-reminder>\n${text}\n</system-reminder>`,
    }));
    if (turns.at(-1)?.role !== "user") turns.push({ role: "user", content: [] });
    turns.at(-1).content = [...blocksOf(turns.at(-1).content), ...reminders];
  }
  body.messages = turns;
}

/** How much a model is to think, in CCR 2's words; empty for not at all. */
function effortOf(thinking) {
  if (!thinking || thinking.type === "disabled" || thinking.budget_tokens <= 0) return "";
  if (thinking.budget_tokens <= 1024) return "low";
  return thinking.budget_tokens <= 8192 ? "medium" : "high";
}

/** CCR 3's name for a model, with the request made ready for it. */
function prepared(name, body, models) {
  const asked = String(name ?? "").trim().toLowerCase();
  if (!Object.hasOwn(models, asked)) return name; // CCR answers 400 and names it
  const { to, thinking, cap, drop, schemas, anthropic } = models[asked];
  const found = thinking?.[effortOf(body.thinking)] ?? to;
  if (body.max_tokens > cap) body.max_tokens = cap;
  for (const key of drop ?? []) delete body[key];
  for (const tool of schemas ? list(body.tools) : []) delete tool?.input_schema?.$schema;
  if (!anthropic && list(body.messages).some((turn) => turn?.role === "system")) foldReminders(body);
  return found;
}

/** CCR loads this file for each request, and what loaded it would keep each copy for good. */
function forget() {
  const loaded = module.parent?.children;
  if (loaded?.at(-1) === module) loaded.pop();
}

forget();

module.exports = async function route(req, _config, context) {
  if (req.headers["x-synccr-warm-up"]) return undefined;
  const data = JSON.parse(fs.readFileSync(path.join(__dirname, "routes.json"), "utf8"));
  const { routes, models } = data;
  const body = req.body ?? {};
  let counted;
  const tokens = () => (counted ??= countTokens(body));
  routeImages(body, routes);
  await rewriteSystem(body, data.rewrite);
  if (data.custom) req.tokenCount = tokens();
  let chosen = await custom(data, req, context);
  if (!chosen && String(body.model).includes(",")) chosen = body.model;
  const own = chosen ? undefined : projectRoutes(sessionOf(body), data);
  return prepared(chosen ?? scenario(body, tokens, own ?? routes, routes), body, models);
};
