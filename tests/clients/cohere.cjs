// Cohere's own client for Node: node cohere.cjs URL KEY '["query", ["document", ...]]', with NODE_PATH where it is installed.
const { CohereClientV2 } = require("cohere-ai");

const [url, token, what] = process.argv.slice(2);
const [query, documents] = JSON.parse(what);
const client = new CohereClientV2({ token, environment: url });
client
  .rerank({ model: "default", query, documents, topN: 2 })
  .then((reply) => console.log(JSON.stringify(reply.results.map((result) => result.index))))
  .catch((error) => {
    console.error(String(error));
    process.exitCode = 1;
  });
