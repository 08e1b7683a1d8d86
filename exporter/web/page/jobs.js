// The jobs that this page knows: read in pages, then kept up to date by events.
//
// Newest first they are read until `MOST_READ`; what is older can be had by a filter, which is read
// with the exporter's own. A job's `rev` rises with each change, so that a row knows when to redraw.

import { getJob, getJobs } from "./api.js";
import { seconds } from "./format.js";

const PAGE = 500;
const MOST_READ = 10000;
const MOST_KEPT = 25000;
const HEAD_PAUSE_MS = 1000;

let revision = 0;

// Return a job of the API as rows want it; times in seconds since 1970.
function read(shown) {
  return {
    id: shown.job_id,
    key: shown.key,
    labels: Object.entries(shown.labels),
    source: shown.source,
    mode: shown.mode,
    state: shown.state,
    step: shown.step,
    progress: shown.progress,
    warnings: Object.values(shown.warnings).flat().length,
    ignored: shown.ignored_variations.length,
    registered: seconds(shown.registered_at),
    finished: seconds(shown.finished_at),
    polled: seconds(shown.last_polled_at),
    moved: seconds(shown.last_progress_at),
    suspected: shown.suspected,
    provisional: false,
    gone: false,
    rev: ++revision,
  };
}

// What an event changes of a job; `data` is the event's.
const CHANGES = {
  first_answer: (job, data) => { job.mode ??= data.mode ?? null; },
  step_changed: (job, data, time) => { job.step = data.step; job.moved = time; },
  warning_raised: (job, data) => { job.warnings += data.messages?.length ?? 1; },
  variation_ignored: (job) => { job.ignored += 1; },
  suspected: (job) => { job.suspected = true; },
  cleared: (job) => { job.suspected = false; },
  finished: (job, data, time) => {
    Object.assign(job, { state: data.state, finished: time, suspected: false });
    if (data.state === "done") job.progress = 100;
  },
  overturned: (job) => { Object.assign(job, { state: "pending", finished: null }); },
};

export class Jobs {
  #known = new Map();
  #whole = new Set();
  #read = new Set();
  #reading = null;
  #newCount = 0;
  #headTimer = 0;

  // `onChange()` is called after each change, `onTrouble(error)` when they could not be read.
  constructor({ onChange, onTrouble }) {
    Object.assign(this, { onChange, onTrouble, failed: false });
  }

  get = (id) => this.#known.get(id);
  all = () => this.#known.values();
  get size() { return this.#known.size; }
  get loading() { return this.#reading !== null; }

  // Whether all jobs that a filter admits are known.
  isWhole(parameters) {
    return this.#whole.has("") || this.#whole.has(String(new URLSearchParams(parameters)));
  }

  // Forget everything and read anew, first what `parameters` admit.
  async begin(parameters) {
    this.#known.clear();
    this.#whole.clear();
    this.#read.clear();
    this.#newCount = 0;
    this.#reading = null;
    if (await this.read(parameters)) await this.read({});
  }

  // Read the jobs that the exporter's filter admits, a page after the other, once. False when
  // something else was asked for meanwhile.
  async read(parameters) {
    const name = String(new URLSearchParams(parameters));
    if (this.isWhole(parameters) || this.#read.has(name)) return true;
    if (this.#reading?.name === name) return false;
    const turn = { name };
    this.#reading = turn;
    this.onChange();
    try {
      let after = null;
      for (let taken = 0; taken < MOST_READ && (taken === 0 || after); taken += PAGE) {
        const page = await getJobs({ ...parameters, limit: PAGE, ...(after && { after }) });
        if (this.#reading !== turn) return false;
        for (const shown of page.jobs) this.#put(shown);
        after = page.next;
        this.onChange();
      }
      this.#read.add(name);
      if (after === null) this.#whole.add(name);
      this.failed = false;
    } catch (error) {
      if (this.#reading !== turn) return false;
      this.failed = true;
      this.onTrouble(error);
    }
    if (this.#reading !== turn) return false;
    this.#reading = null;
    this.#limit();
    this.onChange();
    return true;
  }

  // Ask for one job by its exact id or key, where it may be older than what was read.
  async seek(text) {
    if (this.#whole.has("") || !text || /\s/.test(text)) return;
    const asked = await Promise.allSettled([getJob(text).then((job) => [job]), getJobs({ key: text, limit: PAGE }).then((page) => page.jobs)]);
    for (const { value } of asked) for (const shown of value ?? []) this.#put(shown);
    this.onChange();
  }

  // Take in one event, or progress.
  apply(item) {
    const time = seconds(item.time);
    if (item.type === "registered") return this.#greet(item, time);
    const job = this.#known.get(item.job_id);
    if (!job) return undefined;
    if (item.type === "forgotten") {
      job.gone = true;
      job.rev = ++revision;
      this.#known.delete(job.id);
      return this.onChange();
    }
    if (time < job.polled) return undefined; // older than what was read of the job
    if (item.type === "progress") {
      Object.assign(job, { progress: item.progress, step: item.step, mode: item.mode, moved: time });
    } else {
      CHANGES[item.type]?.(job, item.data, time);
    }
    job.polled = time;
    job.rev = ++revision;
    return this.onChange();
  }

  // Take in a job as its own view has read it.
  put(shown) {
    if (this.#known.has(shown.job_id)) {
      this.#put(shown);
      this.onChange();
    }
  }

  // A job that the exporter does not know any more.
  drop(id) {
    if (this.#known.delete(id)) this.onChange();
  }

  #put(shown) {
    const job = this.#known.get(shown.job_id);
    if (job) Object.assign(job, read(shown));
    else this.#known.set(shown.job_id, read(shown));
  }

  // A new job shows at once; its key and labels come with the next reading of the newest.
  #greet(item, time) {
    if (this.#known.has(item.job_id)) return;
    this.#put({
      job_id: item.job_id, key: null, labels: {}, source: item.data.source, mode: null,
      state: "pending", step: null, progress: null, warnings: {}, ignored_variations: [],
      registered_at: item.time, suspected: false,
    });
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
        const page = await getJobs({ limit, ...(after && { after }) });
        const met = page.jobs.some((shown) => this.#known.get(shown.job_id)?.provisional === false);
        for (const shown of page.jobs) this.#put(shown);
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

  // Let go of the oldest that have ended, once there are too many: the exporter has them still.
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
