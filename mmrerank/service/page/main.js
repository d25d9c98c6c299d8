// The page: form, address and history, running a search, showing what comes back.

import { BLANK, PICTURES, fromAddress, toAddress } from "./address.js";
import { answering } from "./answer.js";
import * as service from "./api.js";
import { byId, count, h, plain, seconds, show } from "./dom.js";
import { dataOf, keep, picturesIn } from "./pictures.js";
import { queryForm } from "./query.js";
import { cards, empty, moves, seen, showMarks } from "./results.js";
import { viewer } from "./viewer.js";

const KEPT_RESULTS = 12; // so that going back does not ask a slow model again
const PATIENCE_MS = 250; // a search quicker than this shows no progress, which would only flicker

const form = queryForm({ thumbnail: service.thumbnail, changed: drawMarks });
const recent = new Map();
let running = null; // what can be cancelled
let shown = null; // {state, result} on the page

const look = viewer({ picture: (id) => service.picture(shown.state.collection, id), alike, mark, marked: form.marked, closed, moved: (hit) => place(hit.id) });
const parts = {
  thumbnail: (id) => service.thumbnail(shown.state.collection, id),
  page: (id) => service.page(shown.state.collection, id),
  marked: form.marked,
  alike,
  mark,
};

// ---------------------------------------------------------------- running

async function run(state, { push = true, fresh = true } = {}) {
  running?.abort();
  look.close();
  if (push) history.pushState({ asked: state }, "", toAddress(state));
  document.title = state.text ? `${state.text} - mmrerank` : "mmrerank";
  const key = JSON.stringify({ ...state, view: "", open: "" });
  show(byId("problem"), false);
  if (!state.text && !state.like.length && !state.wanted.length) return begin();
  if (!fresh && recent.has(key)) return render(state, recent.get(key));
  const abort = new AbortController();
  running = abort;
  const finish = progress(state);
  try {
    const result = state.mode === "ask" ? await ask(state, abort.signal) : await service.search(state, dataOf, abort.signal);
    recent.set(key, result);
    if (recent.size > KEPT_RESULTS) recent.delete(recent.keys().next().value);
    render(state, result);
  } catch (error) {
    if (running !== abort) return; // a newer search took over
    if (error.name === "AbortError") return cancelled();
    if (!(error instanceof service.ServiceError)) console.error(error); // of the page itself
    problem(error, () => run(state, { push: false }));
  } finally {
    if (running === abort) {
      running = null;
      finish();
    }
  }
}

function ask(state, signal) {
  shown = { state, result: null };
  for (const id of ["results", "empty", "views"]) show(byId(id), false);
  const place = answering({ ...parts, open });
  return service.ask(state, signal, place.more);
}

// Says what is being done and for how long; the function it returns ends that.
function progress(state) {
  const start = performance.now();
  const stages = state.mode === "ask" ? "Reading the pages" : "Searching";
  byId("doing").textContent = state.rerank ? `${stages}, reranking with ${plain(state.rerank)}` : stages;
  const tick = () => {
    const passed = performance.now() - start;
    byId("elapsed").textContent = `${(passed / 1000).toFixed(passed < 9950 ? 1 : 0)} s`;
    show(byId("progress"), passed > PATIENCE_MS);
    show(byId("status"), passed <= PATIENCE_MS);
    document.body.classList.toggle("waiting", passed > PATIENCE_MS && state.mode !== "ask");
  };
  const timer = setInterval(tick, 100);
  return () => {
    clearInterval(timer);
    show(byId("progress"), false);
    show(byId("status"), true);
    document.body.classList.remove("waiting");
  };
}

function cancelled() {
  byId("status").textContent = "Cancelled.";
  if (!shown?.result) show(byId("answer"), false);
}

// ---------------------------------------------------------------- showing

function render(state, result) {
  shown = { state, result };
  for (const id of ["empty", "answer", "results"]) show(byId(id), false);
  byId("status").replaceChildren(h("strong", {}, summary(state, result)), ...result.stages.flatMap(told));
  const views = { moves: result.before.length > 0, seen: result.grids.length > 0 };
  show(byId("views"), views.moves || views.seen);
  show(byId("seen-choice"), views.seen);
  if (state.mode === "ask") answering({ ...parts, open }).done(result);
  else if (!result.hits.length) nothing(state);
  else draw(views[state.view] ? state.view : "grid");
  drawMarks();
  const opened = [...(result.citations ?? []), ...result.hits].find((hit) => hit.id === state.open);
  if (opened) look.open(result.citations?.includes(opened) ? result.citations : result.hits, opened, acts());
}

function draw(view) {
  const { hits, before, stages, grids } = shown.result;
  document.querySelector(`input[name=view][value=${view}]`).checked = true;
  const drawn = {
    grid: () => cards(hits, { ...parts, open: (hit) => open(hits, hit) }),
    moves: () => moves({ hits, before, stages }, { ...parts, open: (hit) => open(hits, hit) }),
    seen: () => seen(grids),
  };
  byId("results").replaceChildren(drawn[view]());
  show(byId("results"), true);
}

function summary(state, result) {
  if (state.mode === "ask") return result.found ? `Answered from ${count(result.citations.length, "page")}` : "No answer";
  return count(result.hits.length, "result");
}

// One stage in words: what it took, and what went wrong.
function told(stage) {
  const took = [seconds(stage.seconds), stage.calls && count(stage.calls, "call"), stage.tokens && count(stage.tokens, "token"), stage.cached && `${stage.cached} from the cache`];
  const words = ` · ${plain(stage.name)} ${took.filter(Boolean).join(", ")}`;
  const trouble = stage.status === "ok" ? "" : ` (${[...new Set([stage.status, ...stage.notes])].join(": ")})`;
  return [h("span", { title: [stage.name, ...stage.notes].join("\n") }, words), trouble && h("span", { class: "trouble" }, trouble)];
}

function nothing(state) {
  const narrowed = state.without.length || state.unlike.length || state.unwanted.length;
  const hint = narrowed ? "Take away what must not be there, or use other words." : "Use other or fewer words.";
  empty(byId("empty"), "Nothing found", state.rerank ? `${hint} A reranker may have held every candidate to be irrelevant.` : hint);
}

function begin() {
  shown = null;
  byId("status").textContent = "";
  for (const id of ["answer", "results", "views", "marks"]) show(byId(id), false);
  const held = form.held();
  const size = count(held.items, "item");
  if (form.mode() === "ask") empty(byId("empty"), "Ask these documents", `${size} in ${held.name}. The answer comes with the pages it rests on.`);
  else if (held.pictures) empty(byId("empty"), "Find a picture", `${size} in ${held.name}. Write what you look for, or drop a picture and write what should be different.`);
  else empty(byId("empty"), "Find", `${size} in ${held.name}. Write what you look for.`);
}

function problem(error, retry) {
  if (error.status === 401) return unlock(retry);
  show(byId("results"), false);
  show(byId("answer"), false);
  show(byId("empty"), false);
  show(byId("views"), false);
  byId("status").textContent = "";
  empty(byId("problem"), error.heading ?? "This did not work", error.message, h("button", { type: "button", on: { click: retry } }, "Try again"));
}

// Asks for the token of a service that wants one.
function unlock(then) {
  const field = h("input", { type: "password", id: "token", required: true, autocomplete: "current-password" });
  const submit = async (event) => {
    event.preventDefault();
    const wrong = await service.enter(field.value).then(() => null, (error) => error);
    if (wrong) return event.target.replaceChildren(...event.target.children, h("p", {}, wrong.message));
    show(byId("problem"), false);
    then();
  };
  const row = [h("label", { class: "field" }, h("span", {}, "Token"), field), h("button", { class: "primary" }, "Enter")];
  empty(byId("problem"), "This service asks for a token", "It was set where the service was started.", h("form", { class: "row", on: { submit } }, ...row));
  field.focus();
}

// ---------------------------------------------------------------- what is done with results

const acts = () => shown.state.mode !== "ask";

function alike(hit) {
  form.write({ ...shown.state, ...BLANK_QUERY(), wanted: [{ id: hit.id }] });
  run(form.read());
  scrollTo({ top: 0 });
}

const BLANK_QUERY = () => ({ ...Object.fromEntries(PICTURES.map((kind) => [kind, []])), text: "", open: "" });

function mark(kind, hit) {
  form.toggle(kind, { id: hit.id });
  drawMarks();
}

// The marks on the cards, and the bar that offers to search with those that are new.
function drawMarks() {
  showMarks(byId("results"), form.marked);
  const now = ["wanted", "unwanted"].map((kind) => [...form.marked(kind)]);
  const then = ["wanted", "unwanted"].map((kind) => (shown?.state[kind] ?? []).map((one) => one.id));
  const differ = JSON.stringify(now) !== JSON.stringify(then);
  show(byId("marks"), Boolean(shown?.result) && differ);
  byId("marked").textContent = [`${now[0].length} wanted`, `${now[1].length} unwanted`].join(", ");
}

function open(all, hit) {
  place(hit.id, "pushState");
  look.open(all, hit, acts());
}

// Puts the open result into the address.
function place(id, how = "replaceState") {
  const state = { ...shown.state, open: id };
  history[how]({ asked: state, viewer: how === "pushState" || history.state?.viewer }, "", toAddress(state));
}

function closed(hit) {
  if (history.state?.viewer) history.back();
  else if (shown) history.replaceState({ asked: { ...shown.state, open: "" } }, "", toAddress({ ...shown.state, open: "" }));
  document.querySelector(`[data-id="${CSS.escape(hit.id)}"] button`)?.focus();
}

// ---------------------------------------------------------------- the page's own events

async function add(kind, files) {
  if (!files.length) return;
  if (!form.held().pictures) return problem(new Error(`The collection ${form.held().name} is searched by text only.`), () => show(byId("problem"), false));
  try {
    for (const key of await keep(files)) form.toggle(kind, { key });
    show(byId("problem"), false);
    byId("text").focus();
  } catch (error) {
    problem(error, () => byId("file").click());
  }
}

function chooseFor(kind) {
  byId("file").onchange = (event) => {
    add(kind, [...event.target.files]);
    event.target.value = "";
  };
  byId("file").click();
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  run(form.read());
});
byId("collection").addEventListener("change", () => run({ ...form.read(), text: "" }));
byId("choose").addEventListener("click", () => chooseFor("like"));
byId("choose-excluded").addEventListener("click", () => chooseFor("unlike"));
byId("cancel").addEventListener("click", () => running?.abort());
byId("refine").addEventListener("click", () => run(form.read()));
byId("unmark").addEventListener("click", () => {
  form.write({ ...form.read(), wanted: shown.state.wanted, unwanted: shown.state.unwanted });
  drawMarks();
});
byId("keys").addEventListener("click", () => byId("help").showModal());
byId("views").addEventListener("change", (event) => {
  shown.state = { ...shown.state, view: event.target.value };
  history.replaceState({ asked: shown.state }, "", toAddress(shown.state));
  draw(event.target.value);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const writing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && running) running.abort();
  else if (event.key === "/" && !writing) byId("text").select();
  else if (event.key === "?" && !writing) byId("help").showModal();
  else if (event.key === "ArrowDown" && event.target === byId("text")) document.querySelector("#results .open, #results button")?.focus();
  else return;
  event.preventDefault();
});
document.addEventListener("paste", (event) => {
  const files = picturesIn(event.clipboardData);
  if (!files.length) return;
  event.preventDefault();
  add(event.target === byId("exclude") ? "unlike" : "like", files);
});

let inside = 0; // drags enter and leave every element they cross
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const [type, step] of [["dragenter", 1], ["dragleave", -1]]) {
  document.addEventListener(type, (event) => {
    if (!carriesFiles(event)) return;
    inside += step;
    show(byId("drop"), inside > 0);
    if (type === "dragenter") for (const zone of byId("drop").children) zone.classList.toggle("over", zone === event.target);
  });
}
document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  inside = 0;
  show(byId("drop"), false);
  add(event.target.dataset?.drop ?? "like", picturesIn(event.dataTransfer));
});

const wide = matchMedia("(min-width: 800px)");
const fold = () => (byId("options").open = wide.matches);
wide.addEventListener("change", fold);
fold();

// ---------------------------------------------------------------- history

// Shows what the address says. Pictures that were dropped on an earlier visit are gone, and the page says so.
function restore() {
  const asked = history.state?.asked ?? fromAddress(location.search);
  const here = (one) => one.id || dataOf(one.key);
  const state = { ...asked, ...Object.fromEntries(PICTURES.map((kind) => [kind, asked[kind].filter(here)])) };
  const lost = asked.dropped || PICTURES.some((kind) => asked[kind].length > state[kind].length);
  form.write(state);
  run({ ...form.read(), view: state.view, open: state.open }, { push: false, fresh: false });
  if (lost) {
    byId("notice").textContent = "This search began with a picture that a link cannot carry. Drop the picture again to repeat it.";
    show(byId("notice"), true);
  }
}

async function start() {
  try {
    const found = await service.collections();
    if (!found.length) return empty(byId("empty"), "No collection", "This service holds none. Start it with: mmrerank serve COLLECTION");
    form.offerCollections(found);
    restore();
  } catch (error) {
    problem(error, start);
  }
}

addEventListener("popstate", restore);
start();
