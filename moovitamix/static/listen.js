// The dial redraws the mix while it moves; only the mix at which it comes to rest is stored. Answers are
// announced to screen readers, and the keyboard's focus stays at the song.
"use strict";

const dial = document.getElementById("dial");
const announcer = document.getElementById("announcer");
let isMoving = false;

document.body.classList.add("has-script");

dial.elements.discovery.addEventListener("input", () => {
  isMoving = true;
  htmx.trigger(dial, "redraw");
});
dial.elements.discovery.addEventListener("change", () => {
  isMoving = false;
  htmx.trigger(dial, "redraw");
});
dial.addEventListener("submit", (event) => event.preventDefault());

document.body.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt !== dial) return;
  event.detail.parameters.shown = dial.dataset.shown;
  if (isMoving) event.detail.parameters.moving = "1";
});

document.body.addEventListener("htmx:afterSwap", ({ target }) => {
  if (target.id === "mix-row") {
    announcer.textContent = target.querySelector("#new-artists")?.textContent || "";
  } else if (target.classList?.contains("answers")) {
    announcer.textContent = target.querySelector(".answer")?.textContent || announcer.dataset.undone;
    target.querySelector("button")?.focus();
  }
});

document.body.addEventListener("htmx:responseError", () => {
  announcer.textContent = announcer.dataset.failed;
  announcer.classList.add("shown");
});
