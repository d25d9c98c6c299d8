// An answer as it comes, with the pages it rests on and the passages boxed.

import { byId, count, h, plain, seconds, show } from "./dom.js";
import { cards, movement, title } from "./results.js";
import { boxed } from "./viewer.js";

// Opens the place for an answer; `more` takes its words, `done` the whole with its sources.
export function answering({ thumbnail, page, open }) {
  const section = byId("answer");
  const words = h("p", { class: "coming" });
  section.replaceChildren(h("div", { class: "said", "aria-live": "polite", "aria-busy": "true" }, words));
  show(section, true);

  return {
    more: (text) => words.append(text),
    done(answer) {
      const said = h("div", { class: answer.found ? "said" : "said none", "aria-live": "polite" }, h("p", {}, answer.text), h("small", {}, told(answer)));
      const cited = new Set(answer.citations.map((citation) => citation.id));
      const others = answer.hits.filter((hit) => !cited.has(hit.id));
      const sources = h("ul", { class: "sources" }, ...answer.citations.map((citation) => source(citation, answer.citations)));
      const looked = cards(others, { thumbnail, open: (hit) => open(others, hit), marked: () => new Set(), acts: false });
      section.replaceChildren(
        h("div", {}, said, others.length ? h("div", { class: "also" }, h("h2", {}, "Pages also looked at"), looked) : ""),
        answer.citations.length ? h("div", {}, h("h2", {}, "The answer rests on"), sources) : "",
      );
    },
  };

  function source(citation, all) {
    const shown = boxed(page(citation.id), citation.boxes);
    const foot = h("span", { class: "foot" }, h("span", { class: "rank" }, title(citation)), movement(citation));
    const opening = { type: "button", class: "open", on: { click: () => open(all, citation) } };
    return h("li", { class: "card", "data-id": citation.id }, h("button", opening, h("span", { class: "shown" }, shown), foot));
  }
}

function told(answer) {
  const stage = answer.stages.at(-1);
  return [plain(stage.name), seconds(stage.seconds), stage.tokens && count(stage.tokens, "token")].filter(Boolean).join(", ");
}
