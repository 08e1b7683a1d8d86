// The table of jobs: only the visible rows exist, and each keeps its node while visible.

import { el, find, icon, inFrame, setAttribute, setText } from "./dom.js";
import { ago, count, duration, fullTime } from "./format.js";
import { format, route } from "./route.js";
import { age, lateness, usualOf } from "./select.js";
import { stateWord } from "./words.js";

const BEYOND = 8;

class Row {
  constructor(job) {
    this.job = job;
    this.rev = 0;
    this.state = el("div");
    this.link = el("a", { class: "id mono", tabindex: "-1", text: job.id, title: job.id });
    this.key = el("div", { class: "second only-wide" });
    this.narrow = el("div", { class: "only-narrow second" });
    this.narrowSign = el("span", { class: "only-narrow sign" });
    this.narrowBar = el("progress", { max: "100", "aria-hidden": "true" });
    this.narrowPercent = el("span");
    this.narrowNotes = el("span");
    this.step = el("div");
    this.mode = el("div", { class: "second" });
    this.bar = el("progress", { max: "100", "aria-label": "progress" });
    this.percent = el("span", { class: "percent" });
    this.late = el("span", { class: "late" });
    this.taken = el("span");
    this.time = el("div", {}, this.taken, this.late);
    this.usual = el("div", { class: "second" });
    this.registered = el("div");
    this.notes = el("div");
    this.node = el("tr", { class: "job" },
      el("td", { class: "c-state" }, this.state),
      el("td", { class: "c-job" },
        el("div", {}, this.link),
        this.key,
        el("div", { class: "only-narrow" }, this.narrowSign, this.narrowBar, this.narrowPercent, this.narrowNotes),
        this.narrow),
      el("td", { class: "c-step" }, this.step, this.mode),
      el("td", { class: "c-progress" }, el("div", { class: "meter" }, this.bar, this.percent)),
      el("td", { class: "c-time" }, this.time, this.usual),
      el("td", { class: "c-registered" }, this.registered),
      el("td", { class: "c-notes" }, this.notes));
    this.node.dataset.id = job.id;
  }

  // Draw what has changed; `tick` draws what time changes.
  draw(summary) {
    const { job } = this;
    if (this.rev === job.rev) return;
    if (this.drawnState !== job.state) {
      this.drawnState = job.state;
      this.state.replaceChildren(icon(job.state), stateWord(job.state));
      this.narrowSign.replaceChildren(icon(job.state), stateWord(job.state));
    }
    this.rev = job.rev;
    const open = this.node.classList.contains("open") ? " open" : "";
    this.node.className = `job s-${job.state}${job.finished === null ? "" : " ended"}${job.gone ? " gone" : ""}${open}`;
    this.key.replaceChildren(...keyAndLabels(job));
    setText(this.step, job.step ?? (job.state === "pending" ? "not answered yet" : "—"));
    setText(this.mode, job.mode ?? "");
    setText(this.narrow, [job.key, job.step, job.mode].filter(Boolean).join(" · "));
    for (const [bar, percent] of [[this.bar, this.percent], [this.narrowBar, this.narrowPercent]]) {
      setAttribute(bar, "value", job.progress ?? 0);
      if (bar === this.bar) setAttribute(bar, "aria-hidden", job.progress === null && "true");
      setText(percent, job.progress === null ? "–" : `${Math.round(job.progress)} %`);
    }
    for (const node of [this.notes, this.narrowNotes]) node.replaceChildren(...notes(job));
    this.tick(summary);
  }

  tick(summary) {
    const { job } = this;
    const late = lateness(job, summary);
    setText(this.taken, duration(age(job), job.finished !== null));
    setText(this.late, late);
    const usual = usualOf(job, summary)?.p50;
    const usually = usual === null || usual === undefined ? "" : `usually ${duration(usual, true)}`;
    const compared = job.state === "pending" || job.state === "done";
    setText(this.usual, compared ? usually : `ended ${job.finished ? ago(job.finished) : ""}`);
    setText(this.registered, ago(job.registered));
    setAttribute(this.registered, "title", fullTime(job.registered));
  }
}

function keyAndLabels(job) {
  const labels = job.labels.map(([name, value]) => el("span", { class: "chip", text: `${name}=${value}` }));
  return [job.key ? el("span", { text: `${job.key} ` }) : "", ...labels];
}

function notes(job) {
  const found = [];
  if (job.gone) found.push(note("minus", "forgotten", "The exporter no longer knows this job"));
  if (job.suspected) found.push(note("suspected", "suspected", "Its last answers were errors; it is not decided yet what they mean"));
  const { warnings: { length: warnings }, ignored: { length: ignored } } = job;
  if (warnings) found.push(note("warning", String(warnings), count(warnings, "warning")));
  if (ignored) found.push(note("ignored", String(ignored), count(ignored, "ignored variation")));
  return found;
}

function note(sign, text, title) {
  const spoken = el("span", { class: "hidden", text: title });
  return el("span", { class: sign === "ignored" || sign === "minus" ? "note muted" : "note warn", title },
    icon(sign), el("span", { "aria-hidden": "true", text }), spoken);
}

export class Table {
  #rows = [];
  #places = new Map();
  #drawn = new Map();
  #active = null;
  #open = null;
  #summary = null;

  constructor() {
    this.table = find("jobs");
    this.body = find("rows");
    this.list = find("list");
    this.above = el("tr", { class: "spacer", "aria-hidden": "true" }, el("td"));
    this.below = el("tr", { class: "spacer", "aria-hidden": "true" }, el("td"));
    this.body.append(this.above, this.below);
    this.render = this.render.bind(this);
    window.addEventListener("scroll", () => inFrame(this.render), { passive: true });
    window.addEventListener("resize", () => { this.#measure(); inFrame(this.render); });
    this.list.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("focusin", (event) => this.#setActive(event.target.closest("tr")?.dataset.id ?? null));
    this.body.addEventListener("click", (event) => this.#click(event));
    this.#measure();
  }

  // Whether the pointer or the focus is in the table, so that its order is kept.
  isHeld() {
    return this.body.matches(":hover:not(:active)") && matchMedia("(hover: hover)").matches
      || this.body.querySelector("a:focus-visible") !== null;
  }

  get shown() { return this.#rows; }

  // Show other jobs, or the same in another order. The visible rows keep their place.
  show(jobs, { anew = false } = {}) {
    const anchor = anew ? null : this.#anchor();
    this.#rows = jobs;
    this.#places = new Map(jobs.map((job, at) => [job.id, at]));
    setAttribute(this.table, "aria-rowcount", jobs.length + 1);
    if (anew && this.#top() < 0) window.scrollBy(0, this.#top());
    if (anchor && this.#places.has(anchor.id)) {
      const moved = (this.#places.get(anchor.id) - anchor.at) * this.height;
      this.#size();
      if (moved) window.scrollBy(0, moved);
    }
    this.render();
  }

  setSummary(summary) {
    this.#summary = summary;
  }

  // Mark the job whose panel is open.
  setOpen(id) {
    this.#drawn.get(this.#open)?.node.classList.remove("open");
    this.#open = id;
    this.#drawn.get(id)?.node.classList.add("open");
  }

  // Draw the visible rows.
  render() {
    const { first, last } = this.#window();
    const wanted = this.#rows.slice(first, last);
    const names = new Set(wanted.map((job) => job.id));
    for (const [id, row] of this.#drawn) {
      if (names.has(id)) continue;
      if (row.node.contains(document.activeElement)) this.list.focus({ preventScroll: true });
      row.node.remove();
      this.#drawn.delete(id);
    }
    this.#size(first, last);
    let before = this.above;
    wanted.forEach((job, at) => {
      const row = this.#row(job);
      if (before.nextSibling !== row.node) before.after(row.node);
      before = row.node;
      setAttribute(row.node, "aria-rowindex", first + at + 2);
      row.draw(this.#summary);
    });
    this.#setTabStop(wanted);
  }

  // Draw what time changes in the visible rows.
  tick() {
    for (const row of this.#drawn.values()) row.tick(this.#summary);
  }

  // Focus a job's row, and scroll to it if it is not visible.
  focus(id) {
    const at = this.#places.get(id);
    if (at === undefined) return this.list.focus({ preventScroll: true });
    this.#active = id;
    const top = this.#top() + at * this.height;
    const room = window.innerHeight - this.height;
    if (top < this.head) window.scrollBy(0, top - this.head);
    else if (top > room) window.scrollBy(0, top - room);
    this.render();
    return this.#drawn.get(id)?.link.focus({ preventScroll: true });
  }

  // Focus the row that had the focus last, or the first.
  focusActive() {
    const at = this.#places.get(this.#active) ?? this.#window().first;
    if (this.#rows[at]) this.focus(this.#rows[at].id);
    else this.list.focus();
  }

  #row(job) {
    let row = this.#drawn.get(job.id);
    if (!row) {
      row = new Row(job);
      if (job.id === this.#open) row.node.classList.add("open");
      this.#drawn.set(job.id, row);
    }
    row.job = job;
    const target = format({ view: "job", id: job.id, filter: route().filter });
    setAttribute(row.link, "href", target);
    return row;
  }

  #measure() {
    const style = getComputedStyle(this.list);
    this.height = parseFloat(style.getPropertyValue("--row"));
    this.head = parseFloat(style.getPropertyValue("--head"));
  }

  #top() {
    return this.table.getBoundingClientRect().top + this.head;
  }

  #window() {
    const top = this.#top();
    const first = Math.max(0, Math.floor(-top / this.height) - BEYOND);
    const last = Math.ceil((window.innerHeight - top) / this.height) + BEYOND;
    return { first: Math.min(first, this.#rows.length), last: Math.min(this.#rows.length, Math.max(0, last)) };
  }

  #size(first = 0, last = 0) {
    for (const [spacer, rows] of [[this.above, first], [this.below, this.#rows.length - Math.max(first, last)]]) {
      const height = `${rows * this.height}px`;
      if (spacer.firstChild.style.height !== height) spacer.firstChild.style.height = height;
      spacer.hidden = rows === 0;
    }
  }

  // The row that keeps its place once the start of the table has scrolled away.
  #anchor() {
    if (this.#top() >= 0) return null;
    const at = Math.ceil((this.head - this.#top()) / this.height);
    return this.#rows[at] ? { id: this.#rows[at].id, at } : null;
  }

  #setActive(id) {
    if (id === null || id === this.#active) return;
    this.#active = id;
    inFrame(this.render);
  }

  #setTabStop(wanted) {
    const seen = (this.head - this.#top()) / this.height;
    const first = wanted.find((job) => this.#places.get(job.id) >= seen);
    const stop = this.#drawn.has(this.#active) ? this.#active : first?.id;
    for (const [id, row] of this.#drawn) setAttribute(row.link, "tabindex", id === stop ? "0" : "-1");
  }

  #click(event) {
    const row = event.target.closest("tr.job");
    if (!row || event.target.closest("a") || String(getSelection())) return;
    this.#drawn.get(row.dataset.id)?.link.click();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const inTable = event.target === this.list || this.body.contains(event.target);
    const last = this.#rows.length - 1;
    if (!inTable || last < 0) return;
    const page = Math.max(1, Math.floor(window.innerHeight / this.height) - 3);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const at = this.#places.get(this.#active);
    const from = at ?? this.#window().first - 1;
    const to = Math.min(last, Math.max(0, from + steps[event.key]));
    this.focus(this.#rows[to].id);
  }
}
