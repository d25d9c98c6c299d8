// A search as an address and back, so that a link, a reload and the back button find it again.
// Pictures are {id}, a marked item, or {key}, one that was dropped and cannot be in an address.

export const BLANK = Object.freeze({
  collection: "",
  mode: "",
  text: "",
  like: [],
  wanted: [],
  unlike: [],
  unwanted: [],
  without: [],
  retriever: "",
  rerank: "",
  answerer: "",
  filter: "",
  depth: 16,
  k: 24,
  view: "grid",
  open: "",
  dropped: 0,
});
const TEXTS = ["collection", "mode", "text", "retriever", "rerank", "answerer", "filter", "view", "open"];
const NUMBERS = { depth: 500, k: 1000 };
const MARKS = ["wanted", "unwanted"];
export const PICTURES = ["like", "unlike", ...MARKS]; // dropped, and marked

export function fromAddress(query) {
  const given = new URLSearchParams(query);
  const state = { ...BLANK };
  for (const name of TEXTS) state[name] = given.get(name) ?? BLANK[name];
  for (const [name, most] of Object.entries(NUMBERS)) state[name] = whole(given.get(name), most) ?? BLANK[name];
  for (const name of MARKS) state[name] = given.getAll(name).map((id) => ({ id }));
  state.without = given.getAll("without");
  state.dropped = whole(given.get("dropped"), 100) ?? 0;
  return state;
}

export function toAddress(state) {
  const query = new URLSearchParams();
  for (const name of [...TEXTS, ...Object.keys(NUMBERS)]) {
    if (state[name] !== BLANK[name]) query.set(name, state[name]);
  }
  for (const name of MARKS) for (const { id } of state[name]) query.append(name, id);
  for (const text of state.without) query.append("without", text);
  const dropped = state.like.length + state.unlike.length;
  if (dropped) query.set("dropped", dropped);
  return query.size ? `?${query}` : location.pathname;
}

function whole(text, most) {
  const number = Number(text);
  return text !== null && Number.isInteger(number) && number >= 1 ? Math.min(number, most) : null;
}
