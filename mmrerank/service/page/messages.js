// What the page says where it has no results to show: at the start, where nothing was found, and when something is wrong.

import { byId, count, h, icon, show } from "./dom.js";

export function quiet() {
  for (const id of ["empty", "problem"]) show(byId(id), false);
}

export function start(collection, mode, choose) {
  const held = `${count(collection.items, "item")} in ${collection.name}.`;
  if (mode === "ask") return tell("empty", "Ask these documents", `${held} The answer comes with the pages it rests on.`);
  if (!collection.pictures) return tell("empty", "Find a page", `${held} Write what you look for.`);
  const button = h("button", { type: "button", on: { click: choose } }, "Choose a picture");
  tell("empty", "Find a picture", `${held} Write what you look for, or drop a picture and write what should be different.`, button);
  byId("empty").prepend(icon("picture"));
}

export function nothing(state) {
  const narrowed = state.filter || state.without.length || state.unlike.length || state.unwanted.length;
  const hint = narrowed ? "Take away the filter or what must not be there, or use other words." : "Use other or fewer words.";
  tell("empty", "Nothing found", state.rerank ? `${hint} A reranker may have held every candidate to be irrelevant.` : hint);
}

export const noCollection = () => tell("empty", "No collection", "This service holds none. Start it with: mmrerank serve COLLECTION");

// `retry` is offered where it can help: not for what was written wrongly.
export function problem(error, retry) {
  const again = retry && error.passes;
  tell("problem", error.heading ?? "This did not work", error.message, again && h("button", { type: "button", on: { click: retry } }, "Try again"));
}

// Asks for the token of a service that wants one; `enter` tries it.
export function unlock(enter, then) {
  const field = h("input", { type: "password", id: "token", required: true, autocomplete: "current-password" });
  const wrong = h("p");
  const submit = async (event) => {
    event.preventDefault();
    try {
      await enter(field.value);
      quiet();
      then();
    } catch (error) {
      wrong.textContent = error.message;
    }
  };
  const row = [h("label", { class: "field" }, h("span", {}, "Token"), field), h("button", { class: "primary" }, "Enter"), wrong];
  tell("problem", "This service asks for a token", "It was set where the service was started.", h("form", { class: "row", on: { submit } }, ...row));
  field.focus();
}

function tell(id, heading, words, below) {
  byId(id).replaceChildren(h("h2", {}, heading), h("p", {}, words), below ? h("div", { class: "row" }, below) : "");
  show(byId(id), true);
}
