// How pictures come in: dropped on the page, pasted, or chosen. `take` gets what they are for, "like" or "unlike", and the files.

import { byId, show } from "./dom.js";

export function takeIn(take) {
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    take(event.target === byId("exclude") ? "unlike" : "like", files);
  });

  let inside = 0; // a drag enters and leaves every element it crosses
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  for (const [type, step] of [["dragenter", 1], ["dragleave", -1]]) {
    document.addEventListener(type, (event) => {
      if (!carriesFiles(event)) return;
      inside += step;
      show(byId("drop"), inside > 0);
      for (const zone of byId("drop").children) zone.classList.toggle("over", type === "dragenter" && zone === event.target);
    });
  }
  document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    inside = 0;
    show(byId("drop"), false);
    take(event.target.dataset?.drop ?? "like", [...event.dataTransfer.files]);
  });

  byId("choose").addEventListener("click", () => choose("like"));
  byId("choose-excluded").addEventListener("click", () => choose("unlike"));

  function choose(kind) {
    byId("file").onchange = (event) => {
      take(kind, [...event.target.files]);
      event.target.value = "";
    };
    byId("file").click();
  }
}
