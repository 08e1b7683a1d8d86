// The details of one job: its state and why, its polls and answers, and its events.

import { el, find, icon, resultLink } from "./dom.js";
import { AnswerError } from "./api.js";
import { ago, clock, count, duration, fullTime, latency, now, seconds } from "./format.js";
import { usualOf } from "./select.js";
import { unlockForm } from "./unlock.js";
import { codeWords, eventWords, reasonWords, sourceWord, stateWord } from "./words.js";

const SOON_MS = 700;
const LATEST_MS = 15000;

export class Panel {
  #id = null;
  #timer = 0;
  #turn = 0;
  #summary = null;
  #job = null;

  // `onClose()` is called by its button; `readJob(id)` reads a job in full.
  constructor({ onClose, readJob }) {
    Object.assign(this, { onClose, readJob });
    this.node = find("panel");
    this.narrow = matchMedia("(max-width: 760px)");
    this.narrow.addEventListener("change", () => this.#fence());
  }

  get isOpen() { return !this.node.hidden; }

  setSummary(summary) {
    const first = this.#summary === null;
    this.#summary = summary;
    if (first && this.#job) this.#show(this.#job);
  }

  openJob(id) {
    this.#id = id;
    this.#begin([icon("unknown"), "Job"], id, el("p", { class: "muted", text: "Reading…" }));
    this.#read();
  }

  openHelp() {
    this.#id = null;
    this.#begin(["Help"], "", find("help").content.cloneNode(true));
  }

  close() {
    this.#id = null;
    this.#job = null;
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.node.hidden = true;
    this.#fence();
  }

  // A job has changed: read it again soon, if it is the one shown.
  touched(id) {
    if (id === this.#id) this.#readIn(SOON_MS);
  }

  #begin(title, subtitle, body) {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#job = null;
    this.title = el("h2", { id: "panel-title", tabindex: "-1" }, title);
    const close = el("button", { type: "button", "aria-label": "Close", "aria-keyshortcuts": "Escape", on: { click: this.onClose } }, icon("close"));
    const titles = el("div", { class: "titles" }, this.title, el("p", { class: "id mono", text: subtitle }));
    this.body = el("div", { class: "panel-body" }, body);
    this.node.replaceChildren(el("div", { class: "panel-head" }, titles, close), this.body);
    this.node.hidden = false;
    this.node.scrollTop = 0;
    this.#fence();
    this.title.focus({ preventScroll: true });
  }

  // Where the panel covers the page, nothing below it can be focused.
  #fence() {
    for (const node of [find("main"), document.querySelector(".top")]) node.inert = this.isOpen && this.narrow.matches;
  }

  #readIn(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#mustRest() ? this.#readIn(SOON_MS * 3) : this.#read()), wait);
  }

  // The page is hidden, or text in the panel is selected.
  #mustRest() {
    const selection = getSelection();
    return document.hidden || (!selection.isCollapsed && this.node.contains(selection.anchorNode));
  }

  async #read() {
    const turn = ++this.#turn;
    const id = this.#id;
    let wait = LATEST_MS;
    try {
      const job = await this.readJob(id);
      if (turn !== this.#turn) return;
      this.#show(job);
      const next = seconds(job.next_poll_at);
      if (next !== null) wait = Math.min(LATEST_MS, Math.max(SOON_MS, (next - now()) * 1000 + 400));
    } catch (error) {
      if (turn !== this.#turn) return;
      if (error instanceof AnswerError && error.status === 404) {
        this.body.replaceChildren(el("p", { text: "The exporter does not know this job, or no longer does." }));
        return;
      }
    }
    this.#readIn(wait);
  }

  #show(job) {
    this.#job = job;
    const held = this.body.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    this.title.replaceChildren(icon(job.suspected ? "suspected" : job.state), stateWord(job.state) + (job.suspected ? ", suspected" : ""));
    this.title.className = `s-${job.state}`;
    const parts = [progress(job), verdict(job), comparison(job, this.#summary), nextPoll(job), said(job), results(job, this.#summary), facts(job), timeline(job), polls(job)];
    this.body.replaceChildren(...parts.flat().filter(Boolean));
    if (held) [...this.body.querySelectorAll("a")].find((link) => link.getAttribute("href") === held)?.focus({ preventScroll: true });
  }
}

const heading = (text) => el("h3", { text });

function progress(job) {
  if (job.progress === null) return el("p", { class: "muted", text: "Not answered yet." });
  const moved = seconds(job.last_progress_at);
  return [
    el("div", { class: "panel-line lead" }, el("span", { text: job.step ?? "" }), el("span", { text: `${Math.round(job.progress)}\u00a0%` })),
    el("div", { class: `s-${job.state}${job.finished_at ? " ended" : ""}` },
      el("progress", { max: "100", value: String(job.progress), "aria-label": "progress" })),
    moved && el("p", { class: "muted", text: `last moved ${ago(moved)}` }),
  ];
}

// The evidence for the present state, or for a run of errors.
function verdict(job) {
  const boxes = [];
  if (job.suspicion) {
    boxes.push(el("div", { class: "verdict-box s-suspected" }, el("strong", { text: "Suspected. " }), undecided(job.suspicion)));
  }
  if (job.evidence) {
    const evidence = job.evidence === "explicit" ? "The upstream said so." : `Evidence: ${job.evidence}`;
    boxes.push(el("div", { class: `verdict-box s-${job.state}` }, el("strong", { text: `${stateWord(job.state)}. ` }), evidence));
  }
  return boxes;
}

// How far a run of bad answers has come, and what a verdict still lacks.
function undecided(run) {
  const answers = `${run.answers} of ${run.answers_needed ?? "?"} answers`;
  const parts = [`The last was ${run.http_status}. So far ${answers} over ${duration(run.seconds)} of ${duration(run.seconds_needed)}.`];
  if (run.witness) parts.push(`Meanwhile ${run.witness}.`);
  if (run.missing.length) parts.push(`A verdict lacks ${run.missing.join("; ")}.`);
  const earliest = seconds(run.verdict_at);
  if (earliest !== null && earliest > now()) parts.push(`It comes in ${duration(earliest - now())} at the earliest.`);
  return parts.join(" ");
}

function comparison(job, summary) {
  const usual = usualOf(job, summary);
  const taken = (seconds(job.finished_at) ?? now()) - seconds(job.registered_at);
  const words = job.state === "pending" ? `${duration(taken)} old` : `took ${duration(taken, true)}`;
  if (!usual || usual.p50 === null) return [heading("Time"), el("p", { text: words })];
  const longest = usual.p99 ?? usual.p95 ?? usual.p50;
  const whole = Math.max(taken, longest) * 1.08;
  const place = (value) => `${(100 * value) / whole}%`;
  const fill = el("span", { class: `fill${usual.p95 !== null && taken > usual.p95 ? " slow" : ""}` });
  fill.style.width = place(taken);
  const marks = [usual.p50, usual.p95].filter((value) => value !== null).map((value) => {
    const mark = el("span", { class: "mark" });
    mark.style.left = place(value);
    return mark;
  });
  const legend = [`median of ${count(usual.done, "done job")} of mode ${job.mode ?? "unknown"}: ${duration(usual.p50, true)}`,
    usual.p95 !== null && `95\u00a0% took at most ${duration(usual.p95, true)}`].filter(Boolean).join(", ");
  return [heading("Time"), el("div", { class: "against" }, el("p", { text: words }),
    el("div", { class: "scale", "aria-hidden": "true" }, el("span", { class: "track" }), fill, marks),
    el("p", { class: "legend", text: legend }))];
}

function nextPoll(job) {
  const next = seconds(job.next_poll_at);
  if (next === null) {
    const text = job.state === "pending" ? "No poll scheduled." : "None: the outcome is final.";
    return [heading("Next poll"), el("p", { text })];
  }
  const wait = next - now();
  const when = wait < 1 ? "Now" : `In ${duration(wait)}`;
  return [heading("Next poll"), el("p", { title: fullTime(next), text: `${when}, ${reasonWords(job.next_poll_reason)}` }),
    job.next_poll_why && el("p", { class: "muted", text: job.next_poll_why }),
    expectation(job)].filter(Boolean);
}

// When the job will have ended, as far as that was learned from others.
function expectation(job) {
  const [half, most] = [seconds(job.expected_at), seconds(job.expected_by)];
  const left = (time) => duration(Math.max(0, time - now()));
  if (half === null) return null;
  const words = `Half of such jobs end within ${left(half)}`;
  const text = most === null ? `${words}.` : `${words}, nine in ten within ${left(most)}.`;
  return el("p", { class: "muted", title: fullTime(half), text });
}

function said(job) {
  const warnings = Object.entries(job.warnings).map(([name, texts]) => el("li", { class: "warn" }, icon("warning"),
    el("strong", { text: `${name}: ` }), el("span", { text: texts.join("; ") })));
  const ignored = job.ignored_variations.map((name) => el("li", {}, icon("ignored"), `${name} was ignored`));
  if (!warnings.length && !ignored.length) return [];
  return [heading("Warnings and ignored variations"), el("ul", { class: "said" }, warnings, ignored)];
}

function results(job, summary) {
  const found = [...(job.final_url ? [["result", job.final_url]] : []), ...Object.entries(job.final_urls)];
  if (found.length) {
    const items = found.map(([name, url]) => el("li", {}, el("span", { class: "name", text: name }), resultLink(url)));
    return [heading("Results"), el("ul", { class: "results" }, items)];
  }
  if (job.state !== "done") return [];
  if (summary && !summary.results_shown) return [heading("Results"), unlockForm];
  return [heading("Results"), el("p", { class: summary ? "warn" : "muted", text: "Done, but without a result." })];
}

function facts(job) {
  const labels = Object.entries(job.labels).map(([name, value]) => `${name}=${value}`).join(", ");
  const time = (text) => (text ? fullTime(seconds(text)) : null);
  const sources = job.sources.map(sourceWord).join(", then ");
  const rows = [
    ["Key", job.key], ["Labels", labels], ["Mode", job.mode], ["Registered by", sources || sourceWord(job.source)],
    ["Registered", time(job.registered_at)], ["Last asked", time(job.last_polled_at)], ["Ended", time(job.finished_at)],
  ].filter(([, value]) => value);
  return [heading("Facts"), el("dl", { class: "facts" }, rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]))];
}

function timeline(job) {
  const items = job.events.map((event) => {
    const { sign, text, more } = eventWords(event);
    const time = seconds(event.time);
    return el("li", { class: `s-${sign}` }, icon(sign), el("span", { class: "what", text }),
      el("time", { datetime: event.time, title: fullTime(time), text: clock(time) }),
      more && el("span", { class: "more", text: more }));
  });
  if (!items.length) return [heading("Timeline"), el("p", { class: "muted", text: "Its events are no longer stored." })];
  return [heading("Timeline"), el("ol", { class: "timeline" }, items)];
}

function polls(job) {
  if (!job.polls.length) return [heading("Last polls"), el("p", { class: "muted", text: "None since the exporter started." })];
  const slowest = Math.max(...job.polls.map((poll) => poll.seconds));
  const rows = job.polls.toReversed().map((poll) => {
    const time = seconds(poll.time);
    const bar = el("meter", { min: "0", max: String(slowest || 1), value: String(poll.seconds), "aria-hidden": "true" });
    return el("tr", {}, el("td", { title: fullTime(time), text: clock(time) }), el("td", { text: poll.reason ? `${codeWords(poll.code)} (${poll.reason})` : codeWords(poll.code) }),
      el("td", {}, el("div", { class: "latency" }, el("span", { text: latency(poll.seconds) }), bar)));
  });
  const head = ["Time", "Answer", "Latency"].map((text) => el("th", { scope: "col", text }));
  return [heading("Last polls"), el("table", { class: "polls" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows))];
}
