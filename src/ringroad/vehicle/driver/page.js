// Keeps the page fresh. Nothing here is needed to answer: buttons are forms.
"use strict";

const LOOK_MS = 1500;
const main = document.getElementById("main");
const link = document.getElementById("link");
const said = document.getElementById("said");
let shown = "";

async function look() {
  try {
    const answer = await fetch("/part", { cache: "no-store" });
    if (!answer.ok) {
      throw new Error(String(answer.status));
    }
    const part = await answer.text();
    link.hidden = true;
    if (part !== shown) {
      show(part);
    }
  } catch {
    link.hidden = false;
  }
  setTimeout(look, LOOK_MS);
}

function show(part) {
  const focused = document.activeElement?.id;
  const before = main.querySelector("h1")?.textContent;
  shown = part;
  main.innerHTML = part; // escaped by the vehicle, and no script of it would run
  const headline = main.querySelector("h1")?.textContent ?? "";
  document.title = headline;
  if (headline !== before) {
    said.textContent = headline;
  }
  if (focused) {
    document.getElementById(focused)?.focus();
  }
}

setTimeout(look, LOOK_MS);
