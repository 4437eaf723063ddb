"use strict";
(() => {
  const ROW = 26; // pixels
  const SEGMENT = 2000; // characters of one element of the transcript
  const BUDGET = 16; // milliseconds of work before the page may do something else
  const ANSWER_TIMEOUT = 20_000; // milliseconds for an answer
  const MOST_SEGMENTS = 5000; // of the transcript or of the log; what is before them is taken out

  const pause = () => new Promise((done) => setTimeout(done, 0));

  // Text that grows, in elements that the browser lays out only when they are seen.
  class Text {
    constructor(place) { this.place = place; this.segments = []; this.count = 0; }
    add(text) {
      this.count += text.length;
      let last = this.segments[this.segments.length - 1];
      for (let at = 0; at < text.length;) {
        if (!last || last.text.length >= SEGMENT) {
          last = { text: "", element: this.place.appendChild(document.createElement("p")), isNew: true };
          last.element.className = "text";
          this.segments.push(last);
          all.push(last);
        }
        const piece = text.slice(at, at + SEGMENT - last.text.length);
        last.text += piece;
        at += piece.length;
        changed.add(last);
      }
    }
  }
  const all = []; // segments of the transcript, in order
  const changed = new Set();

  function paint() {
    for (const segment of changed) segment.element.textContent = segment.text;
    changed.clear();
    while (all.length > MOST_SEGMENTS) all.shift().element.remove();
  }

  class Transcript {
    constructor(place) { this.place = place; this.turn = null; this.turns = []; this.calls = 0; }
    begin(title) {
      const box = document.createElement("div");
      box.className = "turn";
      const head = document.createElement("h3");
      head.textContent = title;
      box.append(head);
      this.place.append(box);
      this.turn = { box, head, text: new Text(box), isOpen: true };
      this.turns.push(this.turn);
      return this.turn;
    }
    answer() {
      if (this.turn && this.turn.isOpen) return this.turn;
      this.calls += 1;
      return this.begin(`Model request ${this.calls}`);
    }
    add(event) {
      if (event.type === "StartPromptEvent") { if (this.turn) this.turn.isOpen = false; this.answer(); }
      else if (event.reset) {
        for (const turn of this.turns) turn.box.classList.add("void");
        this.turns = []; this.turn = null;
        this.begin("Begun again: what stands above is void").isOpen = false;
      } else if (event.text !== undefined) { if (!event.repeated) this.answer().text.add(event.text); }
      else if (event.result !== undefined) {
        const turn = this.answer();
        if (!turn.text.count) turn.text.add(event.result);
        const [sent, got] = event.tokens;
        turn.head.textContent += ` · ${event.model} · ${sent ?? "?"} tokens in, ${got ?? "?"} out`;
        turn.isOpen = false;
      } else if (event.tool !== undefined) {
        const turn = this.begin(event.type === "StartActionsSubtaskEvent" ? "Tool call" : "Tool result");
        turn.text.add(event.tool);
        turn.isOpen = false;
      }
    }
  }

  class List {
    constructor(place, rows, select, said, base) {
      Object.assign(this, { place, rows, select, said, base });
      this.events = []; this.visible = []; this.types = new Map(); this.drawn = "";
      place.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
      select.addEventListener("change", () => { this.filter(); place.scrollTop = 0; this.draw(); });
      new ResizeObserver(() => this.draw()).observe(place);
    }
    add(event) {
      // The text is in the transcript; a list needs a line.
      const item = { n: event.n, id: event.id, type: event.type, preview: event.preview };
      this.events.push(item);
      if (!this.types.has(item.type)) {
        const option = document.createElement("option");
        option.textContent = option.value = item.type;
        this.select.append(option);
      }
      this.types.set(item.type, (this.types.get(item.type) ?? 0) + 1);
      if (!this.select.value || this.select.value === item.type) this.visible.push(item);
    }
    filter() {
      const type = this.select.value;
      this.visible = type ? this.events.filter((event) => event.type === type) : this.events.slice();
      this.drawn = "";
    }
    draw() {
      const first = Math.max(0, Math.floor(this.place.scrollTop / ROW) - 5);
      const last = Math.min(this.visible.length, first + Math.ceil(this.place.clientHeight / ROW) + 10);
      this.said.textContent = `${this.visible.length} of ${this.events.length} events`;
      this.rows.style.height = `${this.visible.length * ROW}px`;
      const key = `${first}-${last}`;
      if (key === this.drawn) return;
      this.drawn = key;
      const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.n : undefined;
      this.rows.replaceChildren(...this.visible.slice(first, last).map((event, at) => {
        const row = document.createElement("a");
        row.className = "row";
        row.href = `${this.base}/events/${event.id}`;
        row.dataset.n = event.n;
        row.style.top = `${(first + at) * ROW}px`;
        for (const [name, text] of [["n", event.n], ["t", event.type], ["p", event.preview]]) {
          const cell = document.createElement("span");
          cell.className = name;
          cell.textContent = text;
          row.append(cell);
        }
        return row;
      }));
      if (focused !== undefined) this.rows.querySelector(`[data-n="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
  }

  // Takes events in slices of time, so that the page answers while there are very many.
  class Intake {
    constructor(transcript, list) { this.waiting = []; this.isBusy = false; Object.assign(this, { transcript, list }); }
    put(events) { this.waiting.push(...events); return this.work(); }
    async work() {
      if (this.isBusy) return;
      this.isBusy = true;
      let at = 0;
      while (at < this.waiting.length) {
        const until = performance.now() + BUDGET;
        while (at < this.waiting.length && performance.now() < until) {
          const event = this.waiting[at++];
          this.transcript.add(event);
          this.list.add(event);
        }
        this.waiting.splice(0, at);
        at = 0;
        paint();
        this.list.draw();
        await pause();
      }
      this.isBusy = false;
    }
  }

  async function getJson(url) {
    for (let wait = 1; ; wait = Math.min(wait * 2, 15)) {
      try {
        const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
        if (answer.ok) { if (wait > 1) runyard.tell(""); return await answer.json(); }
        if (answer.status === 401) { location.reload(); return null; }
        if (answer.status < 500 && answer.status !== 429) return null;
        runyard.stale("The server is busy, or its database is away.");
      } catch { runyard.stale("The server does not answer."); }
      await new Promise((done) => setTimeout(done, wait * 1000));
    }
  }

  async function readRun(run, intake) {
    let next = 0, state;
    do {
      state = await getJson(`${run}/events?start=${next}`);
      if (!state) return;
      next = state.next;
      await intake.put(state.events);
    } while (state.is_behind);
    if (!state.has_ended) follow(run, next, intake);
  }

  function follow(run, start, intake) {
    let next = start;
    const stream = new EventSource(`${run}/events/stream?start=${start}`);
    stream.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (event.n < next) return;
      next = event.n + 1;
      intake.put([event]);
      if (event.last) stream.close();
    };
    stream.onerror = async () => {
      // Read what is stored, and follow again from there: the stream has ended, or was broken.
      stream.close();
      await new Promise((done) => setTimeout(done, 1000));
      const state = await getJson(`${run}/events?start=${next}`);
      if (!state) return;
      await intake.put(state.events);
      next = state.next;
      if (!state.has_ended || state.is_behind) follow(run, next, intake);
    };
  }

  async function readLog(run, place) {
    const text = new Text(place);
    for (let next = 0; ;) {
      const state = await getJson(`${run}/log?start=${next}`);
      if (!state) return;
      next = state.next;
      if (state.lines.length) { text.add(state.lines.join("\n") + "\n"); paint(); await pause(); }
      if (state.has_ended) return;
      if (!state.lines.length) await new Promise((done) => setTimeout(done, 1500));
    }
  }

  function findIn(said) {
    let at = -1, marked = null, wanted = "";
    return (query, step) => {
      if (marked) { marked.element.textContent = marked.text; marked = null; }
      if (!query) { said.textContent = ""; return; }
      if (query !== wanted) { wanted = query; at = step > 0 ? -1 : 0; }
      const needle = query.toLowerCase();
      for (let tried = 0; tried < all.length; tried += 1) {
        at = (at + step + all.length) % all.length;
        const place = all[at].text.toLowerCase().indexOf(needle);
        if (place < 0) continue;
        marked = all[at];
        const mark = document.createElement("mark");
        mark.textContent = marked.text.slice(place, place + needle.length);
        marked.element.replaceChildren(marked.text.slice(0, place), mark, marked.text.slice(place + needle.length));
        mark.scrollIntoView({ block: "center" });
        said.textContent = "Found.";
        return;
      }
      said.textContent = "Not found.";
    };
  }

  // A chat: each answer streams into its place.
  async function chat(place) {
    const transcript = { add(event) {
      if (event.reset) { text.segments.forEach((one) => one.element.remove()); text.segments = []; text.count = 0; }
      else if (event.text !== undefined) { if (!event.repeated) text.add(event.text); }
      else if (event.result !== undefined && !text.count) text.add(event.result);
      else if (event.last) place.dataset.state = "ended";
    } };
    const text = new Text(place);
    await readRun(place.dataset.chat, new Intake(transcript, { add() {}, draw() {} }));
  }

  function begin() {
    for (const place of document.querySelectorAll("[data-chat]:not([data-state])")) {
      place.dataset.state = "begun";
      chat(place);
    }
    const transcript = document.getElementById("transcript");
    if (!transcript || transcript.dataset.state) return;
    transcript.dataset.state = "begun";
    const run = transcript.dataset.run;
    const get = (id) => document.getElementById(id);
    const list = new List(get("events"), get("rows"), get("type"), get("shown"), document.body.dataset.base);
    readRun(run, new Intake(new Transcript(transcript), list));
    const log = get("log");
    if (log) readLog(run, log);
    const find = findIn(get("found"));
    get("find").addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); find(get("find").value, event.shiftKey ? -1 : 1); }
    });
    get("find-next").addEventListener("click", () => find(get("find").value, 1));
    get("find-previous").addEventListener("click", () => find(get("find").value, -1));
    get("to-begin").addEventListener("click", () => { transcript.scrollTop = 0; });
    get("to-end").addEventListener("click", () => { transcript.scrollTop = transcript.scrollHeight; });
  }
  document.addEventListener("DOMContentLoaded", begin);
  document.addEventListener("htmx:afterSwap", begin);
})();
