// The head of the page: the connection, the upstream, and the counts by state.

import { el, find, icon, inFrame, setAttribute, setText } from "./dom.js";
import { ago, count, duration, number, now, seconds } from "./format.js";
import { format, NO_FILTER, onRoute, route } from "./route.js";
import { STATES, stateWord, upstreamWords } from "./words.js";

// Announce it to screen readers.
export const announce = (text) => setText(find("announce"), text);

const CONNECTIONS = {
  connecting: "Connecting",
  live: "Live",
  lost: "Connection lost, retrying",
  asleep: "Paused while hidden",
};

export class Connection {
  #retryAt = 0;

  constructor(tryNow) {
    this.node = find("connection");
    this.button = find("try-now");
    this.button.addEventListener("click", tryNow);
  }

  show(state, retryAt = 0) {
    const former = this.node.dataset.state;
    this.node.dataset.state = state;
    this.#retryAt = retryAt;
    if (former !== state && state === "lost") announce("Connection to the exporter lost, retrying.");
    if (former === "lost" && state === "live") announce("Reconnected to the exporter.");
    this.button.hidden = state !== "lost";
    this.tick();
  }

  tick() {
    const { state } = this.node.dataset;
    const wait = Math.ceil((this.#retryAt - Date.now()) / 1000);
    const when = state === "lost" && wait > 0 ? ` in ${wait} s` : "";
    setText(find("connection-text"), CONNECTIONS[state] + when);
  }
}

export class Upstream {
  #state = null;

  constructor() {
    this.node = find("upstream");
    this.sentence = el("span");
    this.verdict = el("p", { class: "verdict" }, icon("unknown"), this.sentence);
    this.key = el("span");
    this.heard = el("span");
    this.next = el("span");
    this.url = el("span");
    this.node.append(this.verdict, el("p", { class: "facts-line" }, this.key, this.heard, this.next, this.url));
  }

  show({ upstream }) {
    this.upstream = upstream;
    const [sign, sentence] = upstreamWords(upstream.state);
    if (this.#state !== upstream.state) {
      if (this.#state !== null) announce(sentence);
      this.#state = upstream.state;
      this.node.dataset.state = upstream.state;
      this.verdict.firstChild.replaceWith(icon(sign));
      document.title = `${sign === "trouble" ? "⚠ " : ""}${upstream.name} · removit-exporter`;
    }
    setText(this.sentence, sentence);
    const key = { true: "API key accepted", false: "API key rejected", null: "API key not checked yet" }[upstream.key_valid];
    if (this.key.textContent !== key) this.key.replaceChildren(icon("key"), key);
    this.key.className = upstream.key_valid === false ? "bad" : "";
    setText(this.url, upstream.base_url);
    setText(find("upstream-name"), upstream.name);
    this.tick();
  }

  tick() {
    if (!this.upstream) return;
    const heard = seconds(this.upstream.last_success_at);
    const failure = this.upstream.failure;
    const what = failure?.reason === "invalid_body" ? "unreadable answer" : "no answer";
    const why = failure ? `${what}: ${failure.detail || failure.reason}; ` : "";
    setText(this.heard, why + (heard === null ? "no good answer yet" : `last good answer ${ago(heard)}`));
    const next = seconds(this.upstream.next_try_at);
    setText(this.next, next === null ? "" : `next try ${next > now() + 1 ? `in ${duration(next - now())}` : "now"}`);
  }
}

// What is wrong with the exporter itself; nothing is shown while all is well.
export function showTroubles({ exporter }) {
  const { broken, job_file_errors: files } = exporter;
  const texts = [
    !exporter.store_writable && "The database cannot be written: registrations are refused, polling goes on",
    !exporter.config_reload_successful && "The changed config has an error: the former one stays in force",
    files > 0 && `${count(files, "job file")} cannot be read without errors`,
    broken.length > 0 && `${broken.join(", ")} stopped: restart the exporter`,
  ].filter(Boolean);
  const list = find("troubles");
  const former = [...list.children].map((item) => item.textContent);
  if (String(former) === String(texts)) return;
  list.replaceChildren(...texts.map((text) => el("li", {}, icon("trouble"), text)));
  list.hidden = texts.length === 0;
  announce(texts.length ? texts.join(". ") : "The exporter's trouble is over");
}

// How an event changes the number of jobs by state, as pairs of state and amount.
const MOVES = {
  registered: () => [["pending", 1]],
  finished: (data) => [["pending", -1], [data.state, 1]],
  overturned: (data) => [[data.from, -1], ["pending", 1]],
  forgotten: (data) => [[data.state, -1]],
};

const total = (counts) => Object.values(counts).reduce((sum, one) => sum + one, 0);

export class Tiles {
  #since = [];
  #summary = null;
  #ailing = "";

  constructor() {
    this.links = new Map();
    this.numbers = new Map();
    const tiles = [["", "All jobs", "all"], ...STATES.map((state) => [state, stateWord(state), state])];
    for (const [state, word, sign] of tiles) {
      const value = el("span", { class: "number zero", text: "–" });
      const link = el("a", { class: `tile s-${sign}` }, el("span", { class: "name" }, icon(sign), word), value);
      const box = el("div", { class: state === "pending" ? "tile-box wide" : "tile-box" }, link);
      if (state === "pending") box.append((this.ails = el("div", { class: "ails" })));
      this.links.set(state, link);
      this.numbers.set(state, value);
      find("tiles").append(box);
    }
    onRoute(() => this.#aim());
    this.#aim();
  }

  // Add the events since the summary to its counts.
  add(event) {
    if (!(event.type in MOVES)) return;
    this.#since.push(event);
    inFrame(this.#draw);
  }

  show(summary) {
    this.#summary = summary;
    this.#since = this.#since.filter((event) => event.id > summary.jobs.counted_through);
    this.#draw();
    const { jobs } = summary;
    const ailing = ["suspected", "stalled", "overdue"].filter((name) => jobs[name]);
    if (this.#ailing !== String(ailing)) {
      this.#ailing = String(ailing);
      this.ails.replaceChildren(...ailing.map((name) => el("a", { "data-state": name })));
    }
    for (const link of this.ails.children) setText(link, `${number(jobs[link.dataset.state])} ${link.dataset.state}`);
    this.#aim();
  }

  // How many jobs there are.
  get all() { return total(this.#count()); }

  #count() {
    const stored = { ...this.#summary.jobs.stored };
    for (const event of this.#since) {
      for (const [state, amount] of MOVES[event.type](event.data)) stored[state] = Math.max(0, stored[state] + amount);
    }
    return stored;
  }

  #draw = () => {
    if (!this.#summary) return;
    const stored = this.#count();
    for (const [state, node] of this.numbers) {
      const value = state ? stored[state] : total(stored);
      setText(node, number(value));
      node.classList.toggle("zero", value === 0);
    }
  };

  #aim() {
    const { filter } = route();
    const target = (state) => format({ filter: { ...NO_FILTER, sort: filter.sort, state } });
    for (const [state, link] of this.links) {
      setAttribute(link, "href", target(state));
      setAttribute(link, "aria-current", filter.state === state ? "true" : null);
    }
    for (const link of this.ails.children) setAttribute(link, "href", target(link.dataset.state));
  }
}
