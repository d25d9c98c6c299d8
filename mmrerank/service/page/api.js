// What the service is asked and says, in the page's own words; the only module that knows its fields.

const PAGE_PX = 1000; // of a cited page, enough to be read where it stands

export class ServiceError extends Error {
  constructor(message, heading, status = 0) {
    super(message);
    this.heading = heading;
    this.status = status;
    this.passes = !status || status === 429 || [502, 503, 504].includes(status); // it may go better the next time
  }
}

export const thumbnail = (collection, id) => place(collection, "thumbnail", { id });
export const picture = (collection, id) => place(collection, "picture", { id });
export const page = (collection, id) => place(collection, "picture", { id, side: PAGE_PX });

const place = (collection, kind, query) => `v1/collections/${encodeURIComponent(collection)}/${kind}?${new URLSearchParams(query)}`;

// A place of the service as one of this page: both may lie below a path of a proxy.
const below = (path) => path.replace(/^\//, "");

export async function collections() {
  const found = await (await request("v1/collections")).json();
  return found.collections.map((one) => ({
    name: one.name,
    items: one.items,
    pages: one.has_pages,
    pictures: one.takes.includes("image"),
    retrievers: one.retrievers,
    rerankers: one.rerankers,
    fields: one.fields,
    most: found.most_hits,
    model: found.answers_with !== null,
  }));
}

// Lets this browser in: the service answers with a cookie, which pictures are asked for with as well.
export const enter = (token) => post("v1/session", { token });

// The hits of a state (address.js); `dataOf` gives the data URI of a dropped picture.
export async function search(state, dataOf, signal) {
  const pictures = (kind) => state[kind].map((one) => dataOf(one.key));
  const ids = (kind) => state[kind].map((one) => one.id);
  const body = {
    collection: state.collection,
    text: state.text || null,
    images: pictures("like"),
    exclude_text: state.without,
    exclude_images: pictures("unlike"),
    positive: ids("wanted"),
    negative: ids("unwanted"),
    filter: state.filter || null,
    k: state.k,
    retriever: state.retriever || null,
    ...reranking(state),
  };
  const found = await (await post("v1/search", body, signal)).json();
  const hits = found.hits.map((one) => hit(one, found.first_stage.length > 0));
  return { hits, before: found.first_stage.map((one) => hit(one, false)), stages: found.stages, grids: found.grids.map(below) };
}

// The answer to a question; `more` gets its words as they come.
export async function ask(state, signal, more) {
  const body = { collection: state.collection, question: state.text, filter: state.filter || null, answerer: state.answerer || null, stream: true, ...reranking(state) };
  const response = await post("v1/ask", body, signal);
  for await (const [event, data] of events(response.body)) {
    if (event === "text") more(data.text);
    else if (event === "error") throw failure(502, data);
    else if (event === "answer") {
      const hits = data.hits.map((one) => hit(one, data.stages.length > 2));
      const known = new Map(hits.map((one) => [one.id, one]));
      const citations = data.citations.map((one) => ({ ...known.get(one.item_id), quote: one.quote, boxes: one.boxes }));
      return { text: data.answer, found: data.found, citations, hits, before: [], stages: data.stages, grids: [] };
    }
  }
  throw new ServiceError("The answer broke off. Ask again.");
}

const reranking = (state) => (state.rerank ? { rerank: [state.rerank], depth: state.depth } : {});

const hit = (one, reranked) => ({
  id: one.item_id,
  rank: one.rank,
  was: reranked ? one.first_rank : null,
  score: one.score,
  raw: one.raw_score,
  calibrated: one.calibrated_score,
  reason: one.reason ?? "",
  explanation: one.explanation ?? null,
  document: one.document_id,
  page: one.page_number,
  text: one.text ?? "",
  metadata: one.metadata ?? {},
  picture: Boolean(one.thumbnail),
});

const post = (path, body, signal) =>
  request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("Is it still running, and is this machine connected to it?", "The service does not answer");
  }
  if (!response.ok) throw failure(response.status, await response.json().catch(() => null), response.headers.get("Retry-After"));
  return response;
}

function failure(status, body, wait) {
  const message = body?.error?.message ?? `It replied with status ${status}.`;
  if (status === 429) return new ServiceError(`${message}${wait ? ` Try again in ${wait} s.` : ""}`, "The service is busy", status);
  return new ServiceError(message, status < 500 ? "The service refused this" : "The service could not do this", status);
}

// Server-sent events as [name, data].
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (held + value).split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1).trim()]));
      if (fields.data) yield [fields.event, JSON.parse(fields.data)];
    }
  }
}
