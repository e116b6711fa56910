const fs = require("node:fs"), path = require("node:path");
module.exports = async (req) => {
  if (req.headers["x-synccr-warm-up"]) return undefined;
  const d = JSON.parse(fs.readFileSync(path.join(__dirname, "routes.json"), "utf8"));
  const of = (n) => d.models[String(n).toLowerCase()];
  const b = req.body;
  return of(b.model) ?? of(b.thinking && d.routes.think || d.routes.default);
};
