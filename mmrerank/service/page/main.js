// The page: running a search, showing what comes back, address and history.

import { PICTURES, fromAddress, toAddress } from "./address.js";
import { answering } from "./answer.js";
import * as service from "./api.js";
import { byId, count, h, plain, seconds, show } from "./dom.js";
import { takeIn } from "./intake.js";
import * as messages from "./messages.js";
import { dataOf, keep } from "./pictures.js";
import { queryForm } from "./query.js";
import { cards, moves, seen, showMarks } from "./results.js";
import { viewer } from "./viewer.js";

const KEPT_RESULTS = 12; // so that going back does not ask a slow model again
const MENDED = { completed: "completed by the order before", repaired: "its answer was mended", fallback: "not reranked" };
const PATIENCE_MS = 250; // a search quicker than this shows no progress, which would only flicker

let running = null; // what can be cancelled
let shown = null; // {state, result} on the page
let returning = Promise.resolve(); // ends when the history has left the entry of a closed result
let opened;
const ready = new Promise((settle) => (opened = settle)); // the collections are known; what was put into the form before would be lost
const recent = new Map();
const form = queryForm({ thumbnail: service.thumbnail, changed: drawMarks });
const parts = {
  thumbnail: (id) => service.thumbnail(shown.state.collection, id),
  picture: (id) => service.picture(shown.state.collection, id),
  page: (id) => service.page(shown.state.collection, id),
  marked: form.marked,
  alike,
  mark,
};
const look = viewer({ ...parts, closed, moved: (hit) => place(hit.id) });

// ---------------------------------------------------------------- running

async function run(state, { push = true, fresh = true } = {}) {
  await returning; // an entry pushed before that would be the one that is left
  running?.abort();
  look.close();
  messages.quiet();
  if (push) history.pushState({ asked: state }, "", toAddress(state));
  document.title = state.text ? `${state.text} - mmrerank` : "mmrerank";
  if (!state.text && !state.like.length && !state.wanted.length) return begin();
  if (!fresh && recent.has(keyOf(state))) return render(state, recent.get(keyOf(state)));
  const abort = new AbortController();
  running = abort;
  const finish = progress(state);
  try {
    const result = state.mode === "ask" ? await ask(state, abort.signal) : await service.search(state, dataOf, abort.signal);
    recent.set(keyOf(state), result);
    if (recent.size > KEPT_RESULTS) recent.delete(recent.keys().next().value);
    render(state, result);
  } catch (error) {
    if (running !== abort) return; // a newer search took over
    if (error.name === "AbortError") cancelled();
    else failed(error, () => run(state, { push: false }).then(refocus));
  } finally {
    if (running === abort) {
      running = null;
      finish();
    }
  }
}

// What makes two searches the same: all but how the result is looked at.
const keyOf = (state) => JSON.stringify({ ...state, view: "", open: "", dropped: 0 });

function ask(state, signal) {
  shown = { state, result: null };
  clear();
  return service.ask(state, signal, answering({ ...parts, open }).more);
}

// Says what is being done and for how long; the function it returns ends that.
function progress(state) {
  const start = performance.now();
  const doing = state.mode === "ask" ? "Reading the pages" : "Searching";
  byId("doing").textContent = state.rerank ? `${doing}, reranking with ${plain(state.rerank)}` : doing;
  const turn = (on) => {
    show(byId("progress"), on);
    show(byId("status"), !on);
    document.body.classList.toggle("waiting", on && state.mode !== "ask");
  };
  const timer = setInterval(() => {
    const passed = performance.now() - start;
    byId("elapsed").textContent = `${(passed / 1000).toFixed(1)} s`;
    turn(passed > PATIENCE_MS);
  }, 100);
  return () => {
    clearInterval(timer);
    turn(false);
  };
}

function cancelled() {
  byId("status").textContent = "Cancelled.";
  if (!shown?.result) show(byId("answer"), false);
}

function failed(error, retry) {
  if (!(error instanceof service.ServiceError)) console.error(error); // of the page itself
  clear();
  if (error.status === 401) messages.unlock(service.enter, retry);
  else messages.problem(error, retry);
}

// ---------------------------------------------------------------- showing

function clear() {
  messages.quiet();
  byId("status").textContent = "";
  for (const id of ["answer", "results", "views", "marks", "notes"]) show(byId(id), false);
}

function begin() {
  shown = null;
  clear();
  messages.start(form.held(), form.mode(), () => byId("choose").click());
}

function render(state, result) {
  shown = { state, result };
  clear();
  byId("status").replaceChildren(h("strong", {}, summary(state, result)), ...result.stages.flatMap(told));
  drawNotes(result.stages);
  show(byId("views"), views().moves || views().seen);
  show(byId("seen-choice"), views().seen);
  if (state.mode === "ask") answering({ ...parts, open }).done(result);
  else if (result.hits.length) draw();
  else messages.nothing(state);
  drawMarks();
  peer();
}

const views = () => ({ moves: shown.result.before.length > 0, seen: shown.result.grids.length > 0 });

function draw() {
  const { hits, before, stages, grids } = shown.result;
  const view = views()[shown.state.view] ? shown.state.view : "grid";
  const opening = (hit) => open(hits, hit);
  const drawn = {
    grid: () => [cards(hits, { ...parts, open: opening }), ...more(hits)],
    moves: () => [moves({ hits, before, stages }, { ...parts, open: opening })],
    seen: () => [seen(grids, hits)],
  };
  document.querySelector(`input[name=view][value=${view}]`).checked = true;
  byId("results").replaceChildren(...drawn[view]());
  show(byId("results"), true);
}

// A button to see what comes after the hits, where there may be more; at the most that the service shows, words that say so.
function more(hits) {
  const { state } = shown;
  const { most, items } = form.held();
  if (hits.length < state.k || hits.length >= items) return [];
  if (state.k >= most) return [h("p", { class: "more" }, `These are the first ${most.toLocaleString("en")}. Say more of what you look for to see others.`)];
  const k = Math.min(2 * state.k, most);
  const next = async () => {
    const wider = { ...state, k };
    form.write({ ...form.read(), k });
    await run(wider);
    document.querySelectorAll("#results .card .open")[hits.length]?.focus(); // where one left off
  };
  return [h("p", { class: "more" }, h("button", { type: "button", id: "more", on: { click: next } }, `Show ${(k - state.k).toLocaleString("en")} more`))];
}

// What the stages note, folded away: it is about how the results were made.
function drawNotes(stages) {
  const notes = stages.flatMap((stage) => stage.notes.filter((note) => note !== stage.status).map((note) => [plain(stage.name), note]));
  const [summary, list] = byId("notes").children;
  summary.textContent = count(notes.length, "note");
  list.replaceChildren(...notes.map(([name, note]) => h("li", {}, h("b", {}, name), ` ${note}`)));
  byId("notes").open = false;
  show(byId("notes"), notes.length > 0);
}

// The same search, looked at in another way.
function turnTo(state) {
  const turned = state.view !== shown.state.view;
  shown.state = state;
  if (turned) draw();
  peer();
}

function summary(state, result) {
  if (state.mode !== "ask") return [count(result.hits.length, "result"), ...stood(result)].join(" · ");
  if (!result.found) return "No answer";
  return result.citations.length ? `Answered from ${count(result.citations.length, "page")}` : "Answered, from no page that can be named";
}

// That a reranker left everything where it was, which otherwise looks as if none had run.
function stood({ hits, before, stages }) {
  if (!before.length || hits.some((hit) => hit.was !== hit.rank)) return [];
  return [stages.slice(1).every((stage) => stage.status === "fallback") ? "not reranked" : "nothing moved"];
}

// One stage in words: what it took, and how much of the order is its own; the rest is told on hover.
function told(stage) {
  const cached = stage.cached && `${stage.cached} from the cache`;
  const took = [stage.calls && count(stage.calls, "call"), stage.tokens && count(stage.tokens, "token"), cached].filter(Boolean);
  const trouble = stage.status === "ok" ? "" : ` (${MENDED[stage.status]})`;
  const title = [stage.name, ...took].join("\n");
  return [h("span", { title }, ` · ${plain(stage.name)} ${seconds(stage.seconds)}`), trouble && h("span", { class: "trouble" }, trouble)];
}

// ---------------------------------------------------------------- what is done with results

function alike(hit) {
  const nothing = Object.fromEntries(PICTURES.map((kind) => [kind, []]));
  form.write({ ...shown.state, ...nothing, wanted: [{ id: hit.id }], text: "" });
  run(form.read()).then(refocus);
  scrollTo({ top: 0 });
}

// What was pressed may be gone, and the focus with it: it goes to the first result, or to what is asked.
function refocus() {
  if (document.activeElement !== document.body && document.activeElement.checkVisibility()) return;
  const first = document.querySelector("#results:not([hidden]) button, #answer:not([hidden]) button") ?? byId("text");
  first.focus({ preventScroll: true });
}

function mark(kind, hit) {
  form.toggle(kind, { id: hit.id });
  drawMarks();
}

// The marks on the cards, and the bar that offers to search with those that are new.
function drawMarks() {
  const [wanted, unwanted] = ["wanted", "unwanted"].map((kind) => [...form.marked(kind)]);
  const searched = ["wanted", "unwanted"].map((kind) => (shown?.state[kind] ?? []).map((one) => one.id));
  showMarks(byId("results"), form.marked);
  byId("marked").textContent = `${wanted.length} wanted, ${unwanted.length} unwanted`;
  show(byId("marks"), Boolean(shown?.result) && JSON.stringify([wanted, unwanted]) !== JSON.stringify(searched));
}

function open(all, hit) {
  place(hit.id, "pushState");
  look.open(all, hit, acts());
}

// Marks and likeness belong to a search, an answer has none.
const acts = () => shown.state.mode !== "ask";

// Opens or closes the result that the address names.
function peer() {
  const { citations = [], hits, before } = shown.result;
  const named = (hit) => hit.id === shown.state.open;
  const all = [citations, hits, before].find((some) => some.some(named));
  if (all) look.open(all, all.find(named), acts());
  else look.close();
}

// Puts the open result into the address.
function place(id, how = "replaceState") {
  const state = { ...shown.state, open: id };
  history[how]({ asked: state, viewer: how === "pushState" || history.state?.viewer }, "", toAddress(state));
}

function closed(hit) {
  if (!new URLSearchParams(location.search).has("open")) return; // closed by the history, or by a new search
  if (history.state?.viewer) {
    returning = new Promise((left) => addEventListener("popstate", left, { once: true }));
    history.back();
  } else place("");
  document.querySelector(`[data-id="${CSS.escape(hit.id)}"] button`)?.focus();
}

// ---------------------------------------------------------------- the page's own events

takeIn(async (kind, files) => {
  await ready;
  try {
    if (!form.held().pictures) throw new Error(`The collection ${form.held().name} is searched by text only.`);
    for (const key of await keep(files)) form.toggle(kind, { key });
    byId("text").focus();
    if (kind === "like" || shown) run(form.read());
    else messages.quiet();
  } catch (error) {
    messages.problem(error);
  }
});

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  run(form.read());
});
byId("collection").addEventListener("change", () => run({ ...form.read(), text: "" }));
byId("modes").addEventListener("change", () => shown || begin());
byId("cancel").addEventListener("click", () => {
  running?.abort();
  byId("text").focus();
});
byId("refine").addEventListener("click", () => run(form.read()).then(refocus));
byId("unmark").addEventListener("click", () => {
  form.write({ ...form.read(), wanted: shown.state.wanted, unwanted: shown.state.unwanted });
  drawMarks();
  refocus();
});
byId("keys").addEventListener("click", () => byId("help").showModal());
byId("views").addEventListener("change", (event) => {
  turnTo({ ...shown.state, view: event.target.value });
  place("");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const writing = event.target.matches("input, select");
  if (event.key === "Escape" && running) running.abort();
  else if (event.key === "/" && !writing) byId("text").select();
  else if (event.key.toLowerCase() === "r" && !writing && !byId("marks").hidden) run(form.read());
  else if (event.key === "?" && !writing) byId("help").showModal();
  else if (event.key === "ArrowDown" && event.target === byId("text")) document.querySelector("#results button, #answer button")?.focus();
  else return;
  event.preventDefault();
});

// ---------------------------------------------------------------- history

// Shows what the address says; within one search the form stays as it is, with what was written since.
function restore() {
  const asked = history.state?.asked ?? fromAddress(location.search);
  if (!running && shown?.result && keyOf(asked) === keyOf(shown.state)) turnTo({ ...shown.state, view: asked.view, open: asked.open });
  else repeat(asked);
}

// Pictures that were dropped on an earlier visit are gone, and the page says so.
function repeat(asked) {
  if (asked.collection && !form.holds(asked.collection)) {
    form.write(fromAddress(""));
    begin();
    return messages.problem(new Error(`There is no collection ${asked.collection} here. Choose one above.`));
  }
  const kept = PICTURES.map((kind) => [kind, asked[kind].filter((one) => one.id || dataOf(one.key))]);
  const lost = asked.dropped || kept.some(([kind, pictures]) => pictures.length < asked[kind].length);
  form.write({ ...asked, ...Object.fromEntries(kept) });
  const state = { ...form.read(), view: asked.view, open: asked.open };
  history.replaceState({ ...history.state, asked: { ...state, dropped: asked.dropped } }, "");
  run(state, { push: false, fresh: false });
  if (lost) form.note("This search began with a picture that a link cannot carry. Drop the picture again to repeat it.");
}

async function start() {
  try {
    const found = await service.collections();
    if (!found.length) return messages.noCollection();
    form.offerCollections(found);
    byId("query").disabled = false;
    restore();
    opened();
  } catch (error) {
    failed(error, start);
  }
}

addEventListener("popstate", restore);
start();
