// One result, large: its picture or page with the passage boxed, and all that is known of it.

import { byId, h, icon, iconButton, svg } from "./dom.js";
import { movement, score, title } from "./results.js";

const SMALL_PX = 240; // a picture below this is shown at a fixed size, not blown up to the whole window

// A page or picture with boxes around passages; boxes are [left, top, right, bottom] as shares of its sides.
export function boxed(source, boxes, { lazy = true } = {}) {
  const marks = svg("svg", { preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" });
  const loaded = (event) => {
    const { naturalWidth: width, naturalHeight: height } = event.target;
    marks.setAttribute("viewBox", `0 0 ${width} ${height}`); // laid over the picture exactly as `object-fit: contain` lays it out
    const drawn = (name, edge) => ([left, top, right, bottom]) =>
      svg("rect", { class: name, x: left - 3 * edge, y: top - edge, width: right - left + 6 * edge, height: bottom - top + 2 * edge });
    const lines = boxes.map(([left, top, right, bottom]) => [left * width, top * height, right * width, bottom * height]);
    const around = lines.length ? [[0, 1, 2, 3].map((side) => Math[side < 2 ? "min" : "max"](...lines.map((line) => line[side])))] : [];
    marks.replaceChildren(...lines.map(drawn("line", 0)), ...around.map(drawn("passage", width / 400)));
    event.target.closest(".page").classList.toggle("small", Math.max(width, height) < SMALL_PX);
  };
  const image = h("img", { src: source, alt: "", loading: lazy ? "lazy" : null, decoding: "async", on: { load: loaded } });
  return h("span", { class: "page" }, image, marks);
}

export function viewer({ picture, alike, mark, marked, closed, moved }) {
  const dialog = byId("viewer");
  let hits = [];
  let place = 0;
  let acts = true;
  let unfolded = false;

  dialog.addEventListener("close", () => closed(hits[place]));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });

  function step(by) {
    if (!hits[place + by]) return;
    place += by;
    draw();
    moved(hits[place]);
  }

  function draw() {
    const hit = hits[place];
    const stage = h("div", { class: "stage" });
    const zoom = () => {
      const large = stage.classList.toggle("large");
      stage.firstChild.setAttribute("aria-pressed", String(large));
      if (large) stage.querySelector(".passage")?.scrollIntoView({ block: "center", inline: "center" });
    };
    const shown = hit.picture ? boxed(picture(hit.id), hit.boxes ?? [], { lazy: false }) : null;
    if (shown) {
      shown.querySelector("img").alt = title(hit);
      stage.append(h("button", { type: "button", class: "zoom", "aria-pressed": "false", "aria-label": "Enlarge", on: { click: zoom } }, shown));
    } else {
      stage.append(h("p", { class: "words" }, hit.text || hit.id));
    }
    const focus = document.activeElement?.dataset.keep;
    dialog.replaceChildren(stage, about(hit));
    (dialog.querySelector(`[data-keep=${focus ?? "close"}]:not(:disabled)`) ?? dialog.querySelector("[data-keep=close]")).focus();
  }

  function about(hit) {
    const stepping = (by, name, label) => iconButton(name, label, () => step(by), { "data-keep": name, disabled: !hits[place + by] });
    const facts = [
      ["Rank", hit.rank && h("span", {}, `${hit.rank} `, movement(hit))],
      ["Score", score(hit.score)],
      ["Raw score", hit.raw !== hit.score && score(hit.raw)],
      ["Calibrated", score(hit.calibrated)],
      ["Why", hit.reason],
      ["Passage", hit.quote],
      ["Item", hit.id],
      ...Object.entries(hit.metadata).map(([name, value]) => [name, String(value)]),
    ].filter(([, value]) => value && value !== "[]");
    return h(
      "div",
      { class: "about" },
      h("div", { class: "row" }, h("span", {}, stepping(-1, "left", "Previous result"), stepping(1, "right", "Next result")), iconButton("close", "Close", () => dialog.close(), { "data-keep": "close" })),
      h("h2", { id: "viewer-title" }, title(hit)),
      acts ? actions(hit) : "",
      h("dl", {}, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      explained(hit.explanation),
      hit.text && hit.text !== title(hit) ? h("p", { class: "text" }, hit.text) : "",
    );
  }

  // How a reranker came to its score, folded away: grades, what happened on the way, the model's own words. Open stays open for the next hit.
  function explained(explanation) {
    if (!explanation) return "";
    const scores = Object.entries(explanation.scores).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(Number(value.toFixed(3))))));
    const toggle = (event) => (unfolded = event.target.open);
    return h(
      "details",
      { class: "explained", open: unfolded, on: { toggle } },
      h("summary", { "data-keep": "explained" }, "How it was judged"),
      scores.length ? h("dl", {}, ...scores) : "",
      explanation.steps.length ? h("ol", {}, ...explanation.steps.map((step) => h("li", {}, step))) : "",
      explanation.reasoning ? h("p", { class: "reasoning" }, explanation.reasoning) : "",
    );
  }

  function actions(hit) {
    const marking = (kind, sign, words) => {
      const on = marked(kind).has(hit.id);
      const press = () => {
        mark(kind, hit);
        draw();
      };
      return h("button", { type: "button", class: kind, "aria-pressed": String(on), "data-keep": kind, on: { click: press } }, icon(sign), ` ${words}`);
    };
    return h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "primary", on: { click: () => alike(hit) } }, "More like this"),
      marking("wanted", "plus", "Wanted"),
      marking("unwanted", "minus", "Unwanted"),
    );
  }

  return {
    open(all, hit, withActions) {
      hits = all.includes(hit) ? all : [hit]; // one that a reranker put out of sight stands alone
      place = hits.indexOf(hit);
      acts = withActions;
      if (!dialog.open) dialog.showModal();
      draw();
    },
    close: () => dialog.open && dialog.close(),
  };
}
