// The form: what is asked. `read` gives it as a state (address.js), `write` shows one.

import { BLANK, PICTURES } from "./address.js";
import { byId, h, icon, iconButton, plain, show } from "./dom.js";
import { dataOf } from "./pictures.js";

const WORDS = {
  find: { go: "Search", hint: "Describe what to find", changed: "What should be different?", label: "What to find" },
  ask: { go: "Ask", hint: "Ask a question about these documents", changed: "Ask a question about these documents", label: "Question" },
};

export function queryForm({ thumbnail, changed }) {
  const fields = Object.fromEntries(["collection", "text", "retriever", "rerank", "answerer", "filter", "depth", "k"].map((name) => [name, byId(name)]));
  let pictures = none();
  let without = [];
  let collections = [];

  const holds = (name) => collections.some((one) => one.name === name);
  const held = () => collections.find((one) => one.name === fields.collection.value);
  const mode = () => document.querySelector("input[name=mode]:checked").value;

  function read() {
    addWord();
    return {
      ...BLANK,
      collection: fields.collection.value,
      mode: held()?.pages ? mode() : "",
      text: fields.text.value.trim(),
      ...(mode() === "ask" ? none() : pictures),
      without: mode() === "ask" ? [] : without,
      retriever: mode() === "ask" ? "" : fields.retriever.value,
      rerank: fields.rerank.value,
      answerer: mode() === "ask" ? fields.answerer.value : "",
      filter: fields.filter.value.trim(),
      depth: fields.rerank.value ? number(fields.depth, BLANK.depth) : BLANK.depth,
      k: mode() === "ask" ? BLANK.k : number(fields.k, BLANK.k),
    };
  }

  function write(state) {
    if (holds(state.collection)) fields.collection.value = state.collection;
    byId(state.mode === "ask" || (!state.mode && held()?.pages) ? "mode-ask" : "mode-find").checked = true;
    fields.text.value = state.text;
    pictures = Object.fromEntries(PICTURES.map((kind) => [kind, [...state[kind]]]));
    without = [...state.without];
    fields.filter.value = state.filter;
    fields.depth.value = state.depth;
    fields.k.value = state.k;
    offer(state);
    draw();
  }

  // The stages that the collection at hand can use; what an address names stays chosen, the server then says what is wrong with it.
  function offer({ retriever, rerank, answerer }) {
    choices(fields.retriever, [["", "automatic"], ...named(held()?.retrievers)], retriever);
    choices(fields.rerank, [["", "nothing"], ...named(held()?.rerankers)], rerank);
    choices(fields.answerer, [["", "words of the model"], ["extractive", "the best passage"]], answerer);
  }

  function draw() {
    const asking = mode() === "ask";
    const words = WORDS[mode()];
    show(byId("modes"), Boolean(held()?.pages));
    byId("go").textContent = words.go;
    const from = pictures.like.length || (held()?.pictures && pictures.wanted.length);
    fields.text.placeholder = from ? words.changed : words.hint;
    fields.text.setAttribute("aria-label", from ? words.changed : words.label);
    for (const id of ["pictures", "without"]) show(byId(id), !asking);
    for (const id of ["choose", "choose-excluded"]) show(byId(id), !asking && Boolean(held()?.pictures));
    for (const name of ["retriever", "k"]) show(fields[name].closest("label"), !asking);
    show(fields.answerer.closest("label"), asking && held().model);
    byId("pictures").replaceChildren(...chips("like"), ...chips("wanted"));
    byId("exclusions").replaceChildren(...without.map(wordChip), ...chips("unlike"), ...chips("unwanted"));
    fields.depth.disabled = !fields.rerank.value;
    fields.k.max = held()?.most ?? fields.k.max;
    fields.filter.placeholder = held()?.pages ? "page_number < 5" : "item_id LIKE '%word%'";
    byId("fields").textContent = `Items whose fields fit, in SQL: ${(held()?.fields ?? []).join(", ")}.`;
    byId("chosen").textContent = summary();
    const lost = pictures.like.length || pictures.unlike.length;
    note(lost && !asking ? "A link to this search leaves out the picture you added: it stays in this page." : "");
  }

  function summary() {
    const words = [];
    if (fields.filter.value.trim()) words.push(`only where ${fields.filter.value.trim()}`);
    if (fields.rerank.value) words.push(`rerank with ${plain(fields.rerank.value)}`);
    return words.length ? `(${words.join(", ")})` : "";
  }

  const chips = (kind) => pictures[kind].map((one) => pictureChip(kind, one));

  function pictureChip(kind, one) {
    const source = one.key ? dataOf(one.key) : thumbnail(fields.collection.value, one.id);
    const name = one.key ? "the picture you added" : one.id;
    const next = kind === "like" || kind === "wanted" ? fields.text : byId("exclude");
    const remove = () => change(() => (pictures[kind] = pictures[kind].filter((other) => other !== one)), next);
    const mark = { wanted: "plus", unwanted: "minus" }[kind]; // a mark is no picture that was added
    const called = mark ? `${kind}: ${name}` : name;
    const sign = mark && h("span", { class: "sign" }, icon(mark));
    return h("li", { class: `chip ${kind}` }, sign, h("img", { src: source, alt: called, title: called }), iconButton("close", `Remove ${name}`, remove));
  }

  function wordChip(text) {
    const remove = () => change(() => (without = without.filter((other) => other !== text)), byId("exclude"));
    return h("li", { class: "chip" }, h("span", {}, text), iconButton("close", `Remove ${text}`, remove));
  }

  // A change by hand; where the element in use goes away, the focus has a place to go.
  function change(work, focus) {
    work();
    draw();
    focus?.focus();
    changed();
  }

  function addWord() {
    const text = byId("exclude").value.trim();
    byId("exclude").value = "";
    if (text && !without.includes(text)) change(() => (without = [...without, text]));
  }

  byId("exclude").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.value.trim()) {
      event.preventDefault();
      addWord();
    } else if (event.key === "Backspace" && !event.target.value && without.length) {
      change(() => (without = without.slice(0, -1)));
    }
  });
  fields.collection.addEventListener("change", () => {
    // marks on items of another collection mean nothing here
    write({ ...read(), wanted: [], unwanted: [], mode: "", retriever: "", rerank: "", answerer: "", filter: "" });
    changed();
  });
  fields.rerank.addEventListener("change", draw);
  fields.filter.addEventListener("input", draw);
  byId("modes").addEventListener("change", () => change(() => {}, fields.text));

  return {
    read,
    write,
    offerCollections(all) {
      collections = all;
      choices(fields.collection, all.map((one) => [one.name, one.name]), all[0].name);
    },
    held,
    holds,
    mode,
    note,
    // Adds a picture, or takes it away where it is in already; it is never both wanted and unwanted.
    toggle(kind, picture) {
      const same = (one) => (picture.key ? one.key === picture.key : one.id === picture.id);
      const was = pictures[kind].some(same);
      for (const each of PICTURES) pictures[each] = pictures[each].filter((one) => !same(one));
      if (!was) pictures[kind].push(picture);
      draw();
    },
    marked: (kind) => new Set(pictures[kind].map((one) => one.id)),
  };
}

const none = () => Object.fromEntries(PICTURES.map((kind) => [kind, []]));

const named = (names = []) => names.map((name) => [name, plain(name)]);

const number = (field, otherwise) => {
  const value = Math.round(Number(field.value));
  return value >= 1 ? Math.min(value, Number(field.max)) : otherwise;
};

function note(words) {
  byId("notice").textContent = words;
  show(byId("notice"), Boolean(words));
}

function choices(select, pairs, chosen) {
  const all = chosen && !pairs.some(([value]) => value === chosen) ? [...pairs, [chosen, plain(chosen)]] : pairs;
  select.replaceChildren(...all.map(([value, label]) => h("option", { value }, label)));
  select.value = chosen ?? "";
}
