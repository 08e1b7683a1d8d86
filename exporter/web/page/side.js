// Next to the table: usual durations, steps, recent events, and the exporter's own state.

import { el, find, icon } from "./dom.js";
import { ago, clock, count, decimal, duration, fullTime, number, now, seconds } from "./format.js";
import { format, route } from "./route.js";
import { eventWords, notable } from "./words.js";

const KEPT_EVENTS = 60;
const SHOWN_EVENTS = 14;
const MOST_LINES = 12;

const usual = (value) => (value === null ? "–" : duration(value, true));

// How long the jobs of each mode usually take.
export function showKinds({ modes }) {
  const known = Object.entries(modes).filter(([, kind]) => kind.done).sort((one, other) => other[1].done - one[1].done);
  const rows = known.slice(0, MOST_LINES).map(([mode, kind]) => el("tr", {},
    el("td", { text: mode, title: `${mode}: ${count(kind.done, "job")} done` }),
    el("td", { text: usual(kind.p50) }), el("td", { text: usual(kind.p95) }), el("td", { text: usual(kind.p99) })));
  if (!rows.length) return find("kinds").replaceChildren(el("p", { class: "muted", text: "No job is done yet." }));
  const head = ["Mode", "median", "95 %", "99 %"].map((text) => el("th", { scope: "col", text }));
  return find("kinds").replaceChildren(el("table", { class: "kinds" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)), more(known));
}

const more = (lines) => lines.length > MOST_LINES ? el("p", { class: "muted", text: `and ${number(lines.length - MOST_LINES)} more` }) : "";

// The number of pending jobs by step.
export function showSteps({ steps }) {
  const found = Object.entries(steps).sort((one, other) => other[1] - one[1]);
  const most = Math.max(1, ...Object.values(steps));
  const bars = found.slice(0, MOST_LINES).flatMap(([step, amount]) => [
    el("span", { class: "name", text: step === "unknown" ? "not answered yet" : step, title: step }),
    el("meter", { min: "0", max: String(most), value: String(amount), "aria-hidden": "true" }),
    el("span", { text: number(amount) }),
  ]);
  find("steps").replaceChildren(bars.length ? el("div", { class: "bars" }, bars) : el("p", { class: "muted", text: "No job is pending." }), more(found));
}

const fine = (text) => [text];
const trouble = (text) => el("span", { class: "warn" }, icon("trouble"), text);

// The exporter's own state.
export function showExporter(summary) {
  if (find("exporter").contains(document.activeElement)) return; // its link would lose the focus
  const { polling, exporter, failures } = summary;
  const due = seconds(polling.oldest_due_at);
  const behind = due === null ? 0 : Math.max(0, now() - due);
  const busy = polling.demand > polling.rate_limit;
  const facts = [
    ["Polls per second", busy ? trouble(`${decimal(polling.demand)} needed, ${decimal(polling.rate_limit)} allowed`)
      : `${decimal(polling.demand)} of ${decimal(polling.rate_limit)} allowed`],
    ["In flight", `${number(polling.in_flight)} of ${number(polling.concurrency)}`],
    ["Due now", behind > 5 ? trouble(`${number(polling.overdue)}, ${duration(behind)} late`) : number(polling.overdue)],
    ["Open failures", failures.open ? el("a", { href: "api/v1/failures", text: count(failures.open, "key") }) : "none"],
    ["Stopped", exporter.broken.length ? trouble(`${exporter.broken.join(", ")}; restart the exporter`) : null],
    ["Store", exporter.store_writable ? "writable" : trouble("not writable")],
    ["Config", exporter.config_reload_successful ? `loaded ${ago(seconds(exporter.config_reloaded_at))}` : trouble("last reload failed")],
    ["Job files", exporter.job_file_errors ? trouble(count(exporter.job_file_errors, "with errors", "with errors")) : null],
    ["Without series", exporter.series_left_out_jobs ? count(exporter.series_left_out_jobs, "job") : null],
    ["Running since", clock(seconds(summary.started_at))],
    ["Version", summary.version],
  ];
  find("exporter").replaceChildren(...facts.filter(([, value]) => value !== null).flatMap(([name, value]) => [
    el("dt", { text: name }), el("dd", {}, typeof value === "string" ? fine(value) : value),
  ]));
}

// Recent events, the newest first.
export class Events {
  #kept = [];
  #notable = [];
  #dirty = false;

  constructor() {
    this.list = find("events");
    this.all = find("all-events");
    this.all.addEventListener("change", () => this.show(true));
  }

  add(event) {
    for (const [kept, wanted] of [[this.#kept, true], [this.#notable, notable(event)]]) {
      if (!wanted) continue;
      kept.push(event);
      if (kept.length > KEPT_EVENTS) kept.shift();
    }
    this.#dirty = true;
  }

  // Add stored events before those that have arrived since.
  addPast(past) {
    this.#kept = [...past, ...this.#kept].slice(-KEPT_EVENTS);
    this.#notable = [...past.filter(notable), ...this.#notable].slice(-KEPT_EVENTS);
    this.#dirty = true;
  }

  clear() {
    this.#kept = [];
    this.#notable = [];
    this.#dirty = true;
  }

  // Draw them, unless the pointer is over them: what is being read must not move.
  show(anyway = false) {
    if (!anyway && (!this.#dirty || this.list.matches(":hover, :focus-within"))) return;
    this.#dirty = false;
    const events = (this.all.checked ? this.#kept : this.#notable).slice(-SHOWN_EVENTS).reverse();
    const items = events.map((event) => {
      const { sign, text, more } = eventWords(event);
      const time = seconds(event.time);
      const target = event.job_id && format({ view: "job", id: event.job_id, filter: route().filter });
      return el("li", { class: `s-${sign}`, title: more },
        icon(sign),
        el("span", { class: "what", text }),
        el("time", { datetime: event.time, title: fullTime(time), text: clock(time) }),
        target && el("a", { class: "about mono", href: target, text: event.job_id }));
    });
    if (!items.length) items.push(el("li", {}, el("span"), el("span", { class: "muted", text: "Nothing notable yet." })));
    this.list.replaceChildren(...items);
  }
}

