// Prints what AsyncAPI's own parser has to say of the document on standard input, as JSON.
// Packages are looked for in the working directory, where npm has put them.
const { Parser } = require(require.resolve("@asyncapi/parser", { paths: [process.cwd()] }));

async function main() {
  const source = require("fs").readFileSync(0, "utf8");
  const { document, diagnostics } = await new Parser().parse(source);
  console.log(
    JSON.stringify({
      channels: document ? document.channels().all().map((channel) => channel.address()) : [],
      messages: document ? document.messages().all().map((message) => message.name()) : [],
      findings: diagnostics.map(({ code, message, path, severity }) => ({
        code,
        message,
        path: path.join("."),
        severity,
      })),
    }),
  );
}

main();
