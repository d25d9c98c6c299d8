// What came back: cards in a grid, what the reranker moved, and the pictures that a model was shown.

import { h, icon, iconButton, plain, svg } from "./dom.js";

const ROW_PX = 58; // of before and after: 52 and a gap of 6, as in page.css

export const title = (hit) => {
  if (hit.page) return `Page ${hit.page}, ${hit.document}`;
  if (hit.text && hit.text.length <= 80) return hit.text;
  return hit.id.split(/::|\//).pop();
};

export const score = (value) => (value === null || value === undefined ? "" : value.toFixed(3));

// How a hit moved, in words and with an arrow; nothing where no reranker ran.
export function movement(hit) {
  if (!hit.was) return null;
  const places = hit.was - hit.rank;
  const way = places > 0 ? "up" : places < 0 ? "down" : "same";
  const words = places ? `moved ${way} ${Math.abs(places)}, was ${hit.was}` : "stays";
  return h("span", { class: `move ${way}`, role: "img", "aria-label": words, title: words }, icon(way), places ? String(Math.abs(places)) : "");
}

// A picture in a frame of fixed shape, so that nothing jumps when it comes; its words where it has none or it cannot be shown.
export function picture(source, hit) {
  const frame = h("span", { class: "shown" });
  if (!hit.picture) {
    frame.append(h("span", { class: "words" }, hit.text || hit.id));
    return frame;
  }
  const lost = () => frame.replaceChildren(h("span", { class: "lost" }, "The picture cannot be shown."));
  frame.append(h("img", { src: source, alt: "", loading: "lazy", decoding: "async", on: { error: lost } }));
  return frame;
}

export function cards(hits, { thumbnail, marked, open, alike, mark, acts = true }) {
  const pages = hits.every((hit) => hit.page);
  const list = h("ul", { class: pages ? "cards pages" : "cards" });
  hits.forEach((hit, place) => list.append(card(hit, place)));

  function card(hit, place) {
    const why = `why-${place}`;
    const opening = h(
      "button",
      { type: "button", class: "open", tabindex: place ? -1 : 0, "aria-describedby": hit.reason ? why : null, on: { click: () => open(hit) } },
      picture(thumbnail(hit.id), hit),
      h("span", { class: "foot" }, h("span", { class: "rank" }, String(hit.rank)), movement(hit), h("span", { class: "name" }, title(hit))),
    );
    const known = hit.score === null || hit.reason.includes(score(hit.score));
    const reason = h("p", { class: "why", id: why }, known ? "" : h("b", {}, score(hit.score)), " ", hit.reason);
    const actions = h(
      "div",
      { class: "actions" },
      iconButton("alike", "More like this", () => alike(hit), { tabindex: -1 }),
      iconButton("plus", "Wanted", () => mark("wanted", hit), { tabindex: -1, "aria-pressed": "false", "data-mark": "wanted" }),
      iconButton("minus", "Unwanted", () => mark("unwanted", hit), { tabindex: -1, "aria-pressed": "false", "data-mark": "unwanted" }),
    );
    return h("li", { class: "card", "data-id": hit.id }, opening, acts && actions, reason);
  }

  list.addEventListener("focusin", (event) => {
    const current = event.target.closest(".card");
    for (const button of list.querySelectorAll("[tabindex]")) {
      button.tabIndex = current?.contains(button) ? 0 : -1;
    }
  });
  list.addEventListener("keydown", (event) => {
    const at = [...list.children].indexOf(event.target.closest(".card"));
    const hit = hits[at];
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const go = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns(list), ArrowUp: at - columns(list), Home: 0, End: hits.length - 1 };
    const does = { m: () => alike(hit), "+": () => mark("wanted", hit), "-": () => mark("unwanted", hit) };
    if (event.key in go) {
      list.children[go[event.key]]?.querySelector(".open").focus();
    } else if (acts && event.key.toLowerCase() in does) {
      does[event.key.toLowerCase()]();
    } else {
      return;
    }
    event.preventDefault();
  });
  showMarks(list, marked);
  return list;
}

// How many cards stand in the first row.
const columns = (list) => {
  const tops = [...list.children].map((child) => child.offsetTop);
  const next = tops.findIndex((top) => top > tops[0]);
  return next < 0 ? tops.length : next;
};

export function showMarks(list, marked) {
  for (const item of list.querySelectorAll("[data-id]")) {
    for (const kind of ["wanted", "unwanted"]) {
      const on = marked(kind).has(item.dataset.id);
      item.classList.toggle(kind, on);
      item.querySelector(`[data-mark=${kind}]`)?.setAttribute("aria-pressed", String(on));
    }
  }
}

// The first stage's list beside the last one's, with a line from where a hit was to where it is.
export function moves({ hits, before, stages }, { thumbnail, open }) {
  const shown = before.slice(0, hits.length);
  const height = ROW_PX * Math.max(shown.length, hits.length) - 6;
  const lines = svg("svg", { class: "lines", viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", height, "aria-hidden": "true" });
  const found = new Map(hits.map((hit) => [hit.id, hit]));
  const gone = shown.filter((hit) => !found.has(hit.id)).map((hit) => ({ id: hit.id, was: hit.rank, rank: Infinity }));
  for (const { id, was, rank } of [...hits, ...gone]) {
    const [from, to] = [was, rank].map((place) => Math.min((place - 1) * ROW_PX + 26, height)); // from and to beyond what is shown
    const way = was > rank ? "up" : was < rank ? "down" : "same";
    lines.append(svg("path", { class: way, d: `M0 ${from} C 50 ${from} 50 ${to} 100 ${to}`, "data-id": id, "vector-effect": "non-scaling-stroke" }));
  }
  const row = (hit, ...parts) =>
    h("li", { "data-id": hit.id }, h("button", { type: "button", title: `${score(hit.score)} ${hit.reason}`, on: { click: () => open(hit) } }, ...parts));
  const name = (hit) => h("span", { class: "name" }, title(hit));
  const place = (rank) => h("span", { class: "rank" }, String(rank));
  const thumb = (hit) => picture(thumbnail(hit.id), hit);
  const last = hits.map((hit) => row(hit, place(hit.rank), thumb(hit), name(hit), movement(hit)));
  const first = shown.map((one) => {
    const hit = found.get(one.id) ?? one;
    return row(hit, thumb(hit), name(hit), found.has(one.id) ? "" : h("span", { class: "move down" }, icon("down"), "out"), place(one.rank));
  });

  const still = hits.every((hit) => hit.was === hit.rank) && h("p", { class: "still" }, "Nothing moved: the order is that of the first stage.");
  const heading = (words, { name }) => h("h3", {}, words, h("small", { title: name }, plain(name)));
  const view = h(
    "div",
    { class: "moves" },
    still,
    heading("Before", stages[0]),
    h("span"),
    heading("After", stages.at(-1)),
    h("ol", { "aria-label": "Before" }, ...first),
    lines,
    h("ol", { "aria-label": "After" }, ...last),
  );
  for (const type of ["mouseover", "focusin"]) view.addEventListener(type, (event) => follow(event.target.closest("[data-id]")?.dataset.id));
  view.addEventListener("mouseleave", () => follow(null));

  function follow(id) {
    for (const line of lines.children) {
      line.classList.toggle("strong", Boolean(id) && line.dataset.id === id);
      line.classList.toggle("faint", Boolean(id) && line.dataset.id !== id);
    }
  }
  return view;
}

// The grids as the model was shown them, and what it made of each picture.
export function seen(grids, hits) {
  const said = hits.filter((hit) => hit.reason).map((hit) => h("li", {}, h("b", {}, `${hit.rank}. ${title(hit)}`), h("span", {}, hit.reason)));
  const pictures = grids.map((source) => h("img", { src: source, alt: "Candidates in one grid, each with its number" }));
  return h("div", { class: "seen" }, h("div", {}, ...pictures), h("ol", { "aria-label": "What the model made of it" }, ...said));
}
