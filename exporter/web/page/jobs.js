// The jobs that this page knows: read in pages, then kept up to date by events.
//
// The newest `MOST_READ` are read; older ones are read with the exporter's filter when one is set. A
// job's `rev` rises with each change, so that a row knows when to redraw.
// Answers and events may arrive in any order. Each answer names an event: the answer includes all
// events up to it, and those after it are applied to it, again if need be.

import { AnswerError, getJob, getJobs } from "./api.js";
import { seconds } from "./format.js";

const PAGE = 500;
const MOST_READ = 10000;
const MOST_KEPT = 25000;
const HEAD_PAUSE_MS = 1000;

let revision = 0;

// Return warnings by variation as a list of distinct texts.
const flat = (warnings) => Object.entries(warnings).flatMap(([name, texts]) => texts.map((text) => `${name}\n${text}`));

const joined = (some, more) => [...new Set([...some, ...more])];

// Return a job of the API as rows want it; times in seconds since 1970. `event` is the newest event
// that it certainly includes.
function read(shown, event) {
  return {
    id: shown.job_id,
    key: shown.key,
    labels: Object.entries(shown.labels),
    source: shown.source,
    mode: shown.mode,
    state: shown.state,
    step: shown.step,
    progress: shown.progress,
    warnings: flat(shown.warnings),
    warned: Object.keys(shown.warnings),
    ignored: shown.ignored_variations,
    registered: seconds(shown.registered_at),
    finished: seconds(shown.finished_at),
    polled: seconds(shown.last_polled_at),
    moved: seconds(shown.last_progress_at),
    suspected: shown.suspected,
    event,
    provisional: false,
    gone: false,
    rev: ++revision,
  };
}

// Apply an event with its `data` to a job. Applying it twice has no further effect, because an
// answer may be newer than the events.
const CHANGES = {
  first_answer: (job, data) => { job.mode ??= data.mode ?? null; },
  step_changed: (job, data, time) => { job.step = data.step; job.moved = Math.max(job.moved, time); },
  warning_raised: (job, data) => {
    job.warnings = joined(job.warnings, flat({ [data.variation]: data.messages }));
    job.warned = joined(job.warned, [data.variation]);
  },
  variation_ignored: (job, data) => { job.ignored = joined(job.ignored, [data.variation]); },
  suspected: (job) => { job.suspected = true; },
  cleared: (job) => { job.suspected = false; },
  finished: (job, data, time) => {
    Object.assign(job, { state: data.state, finished: time, suspected: false });
    if (data.state === "done") job.progress = 100;
  },
  overturned: (job) => { Object.assign(job, { state: "pending", finished: null }); },
};

const nameOf = (parameters) => String(new URLSearchParams(parameters));

export class Jobs {
  #known = new Map();
  #whole = new Set();
  #read = new Set();
  #wanted = new Map();
  #reading = null;
  #round = 0;
  #asking = 0;
  #meanwhile = [];
  #newCount = 0;
  #headTimer = 0;

  // `onChange()` is called after each change, `onTrouble(error)` when the jobs could not be read.
  constructor({ onChange, onTrouble }) {
    Object.assign(this, { onChange, onTrouble, failed: false });
  }

  get = (id) => this.#known.get(id);
  all = () => this.#known.values();
  get size() { return this.#known.size; }
  get loading() { return this.#reading !== null; }

  // Whether all jobs that a filter admits have been read.
  isWhole(parameters) {
    return this.#whole.has("") || this.#whole.has(nameOf(parameters));
  }

  // Forget everything.
  clear() {
    this.#known.clear();
    this.#newCount = 0;
  }

  // Read all jobs again, first those that `parameters` admit. A row stays if its job is read again.
  readAnew(parameters) {
    this.#round += 1;
    this.#whole.clear();
    this.#read.clear();
    this.#wanted = new Map([parameters, {}].map((one) => [nameOf(one), one]));
    return this.#readOn();
  }

  // Read the jobs that the exporter's filter admits, once, before any other read.
  read(parameters) {
    const name = nameOf(parameters);
    const all = this.#wanted.has("") ? [["", {}]] : [];
    const known = this.isWhole(parameters) || this.#read.has(name);
    this.#wanted = new Map(known ? all : [[name, parameters], ...all]);
    const [first] = this.#wanted.keys();
    if (this.#wanted.size && this.#reading?.name !== first) this.#readOn();
  }

  // Read the wanted jobs page by page, until something else is wanted first.
  async #readOn() {
    const turn = { name: null };
    this.#reading = turn;
    this.onChange();
    try {
      while (this.#wanted.size) {
        const [[name, parameters]] = this.#wanted;
        turn.name = name;
        let after = null;
        for (let taken = 0; taken < MOST_READ && (taken === 0 || after); taken += PAGE) {
          const page = await this.#ask(getJobs({ ...parameters, limit: PAGE, ...(after && { after }) }));
          if (this.#reading !== turn) return;
          after = page.next;
          this.onChange();
        }
        this.#wanted.delete(name);
        this.#read.add(name);
        if (after === null) this.#whole.add(name);
        if (name === "") this.#sweep(after === null);
      }
      this.failed = false;
    } catch (error) {
      if (this.#reading !== turn) return;
      this.failed = true;
      this.onTrouble(error);
    }
    this.#reading = null;
    this.#limit();
    this.onChange();
  }

  // Ask for a job by its exact id or key, because it may be older than those that were read.
  async seek(text) {
    if (this.#whole.has("") || !text || /\s/.test(text)) return;
    await Promise.allSettled([this.#ask(getJob(text), (job) => [job]), this.#ask(getJobs({ key: text, limit: PAGE }))]);
    this.onChange();
  }

  // Read one job in full and return it; its row follows, if there is one.
  async readOne(id) {
    const row = this.#known.get(id);
    try {
      const shown = await this.#ask(getJob(id), (job) => (this.#known.has(id) ? [job] : []));
      this.onChange();
      return shown;
    } catch (error) {
      if (error instanceof AnswerError && error.status === 404 && row && this.#known.get(id) === row) this.#drop(row);
      throw error;
    }
  }

  // Apply one event, or progress.
  apply(item) {
    if (this.#asking) this.#meanwhile.push(item);
    this.#apply(item);
  }

  // Wait for an answer and add its jobs; then apply the events that happened after it.
  async #ask(asked, jobsOf = (answer) => answer.jobs) {
    const round = this.#round;
    this.#asking += 1;
    try {
      const answer = await asked;
      if (round !== this.#round) return answer; // all is read anew
      const through = answer.newest_event_id;
      for (const shown of jobsOf(answer)) this.#put(shown, through);
      for (const item of this.#meanwhile) if (!(item.id <= through)) this.#apply(item);
      return answer;
    } finally {
      this.#asking -= 1;
      if (!this.#asking) this.#meanwhile = [];
    }
  }

  #apply(item) {
    const time = seconds(item.time);
    if (item.type === "registered") return this.#greet(item, time);
    const job = this.#known.get(item.job_id);
    if (!job || item.id <= job.event) return undefined;
    if (item.type === "forgotten") return this.#drop(job);
    if (item.type !== "progress") {
      CHANGES[item.type]?.(job, item.data, time);
      job.event = item.id;
    } else if (time >= job.polled) {
      Object.assign(job, { progress: item.progress, step: item.step, mode: item.mode, moved: time });
    }
    job.polled = Math.max(job.polled, time);
    job.rev = ++revision;
    return this.onChange();
  }

  // Remove a job that the exporter no longer knows.
  #drop(job) {
    job.gone = true;
    job.rev = ++revision;
    this.#known.delete(job.id);
    this.onChange();
  }

  // Remove the jobs that were not read again: pruned jobs have no event.
  #sweep(metAll) {
    for (const job of this.#known.values()) {
      if (job.round === this.#round) continue;
      Object.assign(job, { gone: metAll, rev: ++revision });
      this.#known.delete(job.id);
    }
  }

  #put(shown, event) {
    const job = this.#known.get(shown.job_id) ?? {};
    this.#known.set(shown.job_id, Object.assign(job, read(shown, event), { round: this.#round }));
  }

  // Show a new job at once; its key and labels come with the next read of the newest jobs.
  #greet(item, time) {
    if (this.#known.has(item.job_id)) return;
    this.#put({
      job_id: item.job_id, key: null, labels: {}, source: item.data.source, mode: null,
      state: "pending", step: null, progress: null, warnings: {}, ignored_variations: [],
      registered_at: item.time, suspected: false,
    }, item.id);
    Object.assign(this.#known.get(item.job_id), { provisional: true, polled: time });
    this.#newCount += 1;
    this.#headTimer ||= setTimeout(() => this.#readHead(), HEAD_PAUSE_MS);
    this.onChange();
  }

  // Read the newest jobs, until one that is known already.
  async #readHead() {
    const awaited = this.#newCount;
    this.#newCount = 0;
    try {
      let after = null;
      for (let taken = 0; taken < MOST_READ; taken += PAGE) {
        const limit = Math.min(PAGE, awaited + 10);
        let met = false;
        const page = await this.#ask(getJobs({ limit, ...(after && { after }) }), ({ jobs }) => {
          met = jobs.some((shown) => this.#known.get(shown.job_id)?.provisional === false);
          return jobs;
        });
        after = page.next;
        if (met || after === null) break;
      }
    } catch (error) {
      this.#newCount += awaited;
      this.onTrouble(error);
    }
    this.#headTimer = this.#newCount ? setTimeout(() => this.#readHead(), HEAD_PAUSE_MS) : 0;
    this.#limit();
    this.onChange();
  }

  // Remove the oldest ended jobs once there are too many; the exporter still has them.
  #limit() {
    if (this.#known.size <= MOST_KEPT) return;
    this.#whole.clear();
    this.#read.clear();
    const ended = [...this.#known.values()].filter((job) => job.finished !== null);
    ended.sort((one, other) => one.finished - other.finished);
    const most = this.#known.size - MOST_READ * 2;
    for (const job of ended.slice(0, most)) this.#known.delete(job.id);
  }
}
