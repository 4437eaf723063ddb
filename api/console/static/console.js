"use strict";
(() => {
  const banner = () => document.getElementById("banner");
  let seenAt = new Date();

  function tell(text) {
    const place = banner();
    place.textContent = text;
    place.hidden = !text;
  }

  function stale(text) {
    tell(`${text} This is the state of ${seenAt.toLocaleTimeString()}.`);
  }

  // A part of a page refreshes itself, unless somebody is choosing rows in it, or nobody sees it.
  const isChosenIn = (part) => part.hasAttribute("data-hold") && part.querySelector("input[type=checkbox]:checked") !== null;
  const isHeld = (part) => document.hidden || part.querySelector("[data-ended]") !== null || isChosenIn(part);
  const due = new WeakMap();
  setInterval(() => {
    for (const part of document.querySelectorAll("[data-refresh]")) {
      const at = due.get(part) ?? Date.now() + 1000 * part.dataset.refresh;
      if (Date.now() < at || isHeld(part)) { due.set(part, at); continue; }
      due.set(part, Date.now() + 1000 * part.dataset.refresh);
      part.dispatchEvent(new CustomEvent("refresh"));
    }
  }, 500);

  document.addEventListener("htmx:beforeSwap", (event) => {
    const part = event.detail.target;
    if (!part || !part.hasAttribute || !part.hasAttribute("data-refresh")) return;
    // Somebody began to choose while the answer was under way, or reads a row that the answer no longer has.
    const isLost = part.hasAttribute("data-hold") && losesFocus(part, event.detail.serverResponse);
    if (isHeld(part) || isLost) event.detail.shouldSwap = false;
    waits(part, isLost);
  });

  function losesFocus(part, html) {
    const row = part.contains(document.activeElement) ? document.activeElement.closest("tr[id]") : null;
    return row !== null && new DOMParser().parseFromString(html, "text/html").getElementById(row.id) === null;
  }

  function waits(part, isLost) {
    const said = document.getElementById("waits");
    if (!said || !part.hasAttribute("data-hold")) return;
    said.textContent = isChosenIn(part) ? "The list waits while you choose." : isLost ? "The list waits while you are in this row." : "";
  }

  // What is alike stays the same element, so that nobody loses the focus, a selection or the place on the page.
  // An element with an id is the one with that id, wherever it stands.
  function morph(old, fresh) {
    const wanted = new Set(Array.from(fresh.children, (one) => one.id));
    const known = new Map();
    for (const one of Array.from(old.children)) {
      if (one.id && !wanted.has(one.id)) one.remove();
      else if (one.id) known.set(one.id, one);
    }
    let at = old.firstChild;
    for (const next of Array.from(fresh.childNodes)) {
      let place = at; // whoever is moved loses the focus: spaces give way to an element instead
      if (next.nodeType === Node.ELEMENT_NODE) while (place && place.nodeType === Node.TEXT_NODE) place = place.nextSibling;
      const isAlike = place && place.nodeName === next.nodeName && !place.id && !next.id;
      const same = next.id ? known.get(next.id) : isAlike ? place : undefined;
      if (!same || same.nodeName !== next.nodeName) { old.insertBefore(next, at); continue; }
      if (same === place) {
        while (at !== same) { const space = at; at = at.nextSibling; space.remove(); }
        at = at.nextSibling;
      } else old.insertBefore(same, at);
      if (same.nodeType !== Node.ELEMENT_NODE) { if (same.data !== next.data) same.data = next.data; continue; }
      for (const { name } of Array.from(same.attributes)) if (!next.hasAttribute(name)) same.removeAttribute(name);
      for (const { name, value } of next.attributes) if (same.getAttribute(name) !== value) same.setAttribute(name, value);
      morph(same, next);
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  }
  htmx.defineExtension("morph", {
    isInlineSwap: (style) => style === "morph",
    handleSwap(style, target, fragment) {
      if (style !== "morph") return false;
      const hadFocus = target.contains(document.activeElement);
      morph(target, fragment);
      // What had the focus is gone: the next Tab goes on from here.
      if (hadFocus && !target.contains(document.activeElement)) { target.tabIndex = -1; target.focus({ preventScroll: true }); }
      return [];
    },
  });

  // Boxes that choose rows: one chooses all of the page.
  const boxes = () => Array.from(document.querySelectorAll("input[type=checkbox][name=run]"));
  function count() {
    const all = document.getElementById("choose-page");
    if (!all) return;
    const chosen = boxes().filter((box) => box.checked).length;
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
    const said = document.getElementById("chosen");
    if (said) said.textContent = chosen ? ` (${chosen})` : "";
    waits(all.closest("[data-refresh]"), false);
  }
  document.addEventListener("change", (event) => {
    if (event.target.id === "choose-page") for (const box of boxes()) box.checked = event.target.checked;
    count();
  });
  window.addEventListener("pageshow", count); // a browser that comes back keeps what was chosen
  document.documentElement.classList.add("scripted");
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) { seenAt = new Date(); tell(event.detail.xhr.getResponseHeader("X-Runyard-Notice") ?? ""); }
  });
  document.addEventListener("htmx:sendError", () => stale("The server does not answer."));
  document.addEventListener("htmx:timeout", () => stale("The server does not answer."));
  document.addEventListener("htmx:responseError", (event) => {
    const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    const said = answer.getElementById("problem");
    stale(said ? said.textContent : "The server refused that.");
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const answer = await fetch(button.dataset.copy, { headers: { Accept: "application/json" } });
    if (!answer.ok) { tell("It could not be copied."); return; }
    const text = await answer.text();
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.readOnly = true;
      button.after(area);
      area.select();
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("form[data-submit]");
    if (form) form.requestSubmit();
  });

  window.runyard = { tell, stale };
})();
