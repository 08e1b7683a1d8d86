// The stream of events: one connection, resumed where it broke, with a growing delay.
//
// `onState(state, retryAt)` is called with the state: `connecting`, `live`, `lost` (and when it tries again, in
// ms of this machine's clock) or `asleep`. `onItem(item)` gets events and progress.
// `begin(summary)` is called before a stream that does not continue after a known event: then
// everything must be read again.

import { AnswerError, getEvents, getSummary } from "./api.js";

const TYPES = [
  "registered", "first_answer", "step_changed", "progress_fell", "warning_raised", "variation_ignored", "drift",
  "suspected", "cleared", "finished", "overturned", "forgotten", "upstream_changed",
];
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30000;
const SLEEP_AFTER_MS = 60000;

export class Live {
  #source = null;
  #timer = 0;
  #sleep = 0;
  #tries = 0;
  #last = null;
  #opened = false;
  #busy = false;

  constructor({ onState, onItem, onSummary, begin }) {
    Object.assign(this, { onState, onItem, onSummary, begin });
    document.addEventListener("visibilitychange", () => this.#look());
    window.addEventListener("online", () => this.tryNow());
    window.addEventListener("pageshow", (event) => event.persisted && this.suspect());
  }

  start() {
    this.onState("connecting");
    this.#connect();
  }

  // Try again at once.
  tryNow() {
    if (this.#timer) this.#connect();
  }

  // Called when another request got no answer: the stream may be dead unnoticed.
  suspect() {
    if (this.#source) this.#lose();
  }

  async #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#busy) return;
    this.#busy = true;
    try {
      const summary = await getSummary();
      this.onSummary(summary);
      const another = summary.newest_event_id < this.#last; // the store is another one
      if (this.#last === null || another || (!this.#opened && await this.#isGone())) {
        this.#last = summary.newest_event_id;
        this.begin(summary);
      }
      this.#open();
    } catch {
      this.#lose();
    } finally {
      this.#busy = false;
    }
  }

  // Whether the missed events are no longer stored. A stream that does not open gives no reason.
  async #isGone() {
    try {
      await getEvents(this.#last, "upstream_changed");
      return false;
    } catch (error) {
      if (error instanceof AnswerError && error.status === 410) return true;
      throw error;
    }
  }

  #open() {
    this.#opened = false;
    const source = new EventSource(`api/v1/events?after=${this.#last}`);
    this.#source = source;
    source.onopen = () => {
      this.#opened = true;
      this.#tries = 0;
      this.onState("live");
    };
    source.onerror = () => this.#lose();
    for (const type of TYPES) {
      source.addEventListener(type, (message) => {
        this.#last = Number(message.lastEventId);
        this.onItem(JSON.parse(message.data));
      });
    }
    source.addEventListener("progress", (message) => {
      this.onItem({ ...JSON.parse(message.data), type: "progress" });
    });
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }

  // Try again, with a growing and random delay, so that pages do not all try at once.
  #lose() {
    this.#close();
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#tries);
    const wait = longest * (0.5 + Math.random() / 2);
    this.#tries += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.onState("lost", Date.now() + wait);
  }

  // A hidden page closes its connection, because a browser allows few for one server.
  #look() {
    clearTimeout(this.#sleep);
    if (document.hidden) {
      this.#sleep = setTimeout(() => {
        this.#close();
        clearTimeout(this.#timer);
        this.#timer = 0;
        this.onState("asleep");
      }, SLEEP_AFTER_MS);
    } else if (!this.#source && !this.#timer) {
      this.start();
    }
  }
}
