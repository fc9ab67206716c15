// The same as receiver.py, with the SDKs for JavaScript: receiver.mjs PORT SECRET...
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

// The packages lie where the tests have installed them, not beside this file.
const require = createRequire(join(process.cwd(), "package.json"));
const { HTTP } = require("cloudevents");
const { Webhook } = require("standardwebhooks");

const [port, ...secrets] = process.argv.slice(2);
const verifiers = secrets.map((secret) => new Webhook(secret));

const isVerified = (verifier, body, headers) => {
  try {
    verifier.verify(body, headers);
    return true;
  } catch {
    return false;
  }
};

const told = (event) => ({ id: event.id, type: event.type, instance: event.data.instance_id });

createServer(async (request, response) => {
  if (request.method === "OPTIONS") {
    response.writeHead(200, {
      "WebHook-Allowed-Origin": request.headers["webhook-request-origin"],
      "WebHook-Allowed-Rate": "*",
    });
    response.end();
    return;
  }
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const body = Buffer.concat(pieces).toString();
  const { headers } = request;
  const events = [HTTP.toEvent({ headers, body })].flat();
  const verified = verifiers.map((verifier) => isVerified(verifier, body, headers));
  console.log(JSON.stringify({ path: request.url, events: events.map(told), verified }));
  response.writeHead(204);
  response.end();
}).listen(Number(port), "127.0.0.1");
