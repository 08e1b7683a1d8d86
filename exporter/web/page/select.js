// Which of the known jobs are shown, and in which order.

import { now } from "./format.js";

const UNKNOWN = "unknown";

// The part of a filter that the exporter itself can apply; see `GET /api/v1/jobs`.
export function parameters(filter) {
  const found = {};
  if (filter.state) found.state = AILING.includes(filter.state) ? "pending" : filter.state;
  if (filter.mode && filter.mode !== UNKNOWN) found.mode = filter.mode;
  if (filter.source) found.source = filter.source;
  for (const name of NOTED) if (filter[name]) found[name] = filter[name];
  const [name, value] = splitLabel(filter.label);
  if (name && value) found[`label.${name}`] = value;
  return found;
}

// Filters of pending jobs that are not states of the API.
export const AILING = ["suspected", "stalled", "overdue"];

// Filters by the name of a variation: one that was ignored, or one with a warning.
export const NOTED = ["variation", "warning"];

const splitLabel = (label) => {
  const at = label.indexOf("=");
  return at < 0 ? [label, ""] : [label.slice(0, at), label.slice(at + 1)];
};

// The usual durations of a mode's jobs, from the summary.
export const usualOf = (job, summary) => summary?.modes?.[job.mode ?? UNKNOWN] ?? summary?.modes?.other;

// Seconds from registration to the end, or to now.
export const age = (job, time = now()) => Math.max(0, (job.finished ?? time) - job.registered);

// The mark for a job's duration: `overdue`, `slow`, or nothing.
export function lateness(job, summary) {
  const usual = usualOf(job, summary);
  if (!usual || (job.state !== "pending" && job.state !== "done")) return "";
  const taken = age(job);
  if (job.state === "pending" && usual.overdue_after !== null && taken > usual.overdue_after) return "overdue";
  return usual.p95 !== null && usual.done >= 20 && taken > usual.p95 ? "slow" : "";
}

function ails(job, ailment, summary) {
  if (job.state !== "pending") return false;
  if (ailment === "suspected") return job.suspected;
  if (ailment === "stalled") return now() - (job.moved ?? job.registered) >= (summary?.jobs.stalled_after ?? Infinity);
  return lateness(job, summary) === "overdue";
}

function admits(filter, summary) {
  const [labelName, labelValue] = splitLabel(filter.label);
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  return (job) => {
    if (filter.state && (AILING.includes(filter.state) ? !ails(job, filter.state, summary) : job.state !== filter.state)) return false;
    if (filter.mode && (job.mode ?? UNKNOWN) !== filter.mode) return false;
    if (filter.source && job.source !== filter.source) return false;
    if (filter.variation && !job.ignored.includes(filter.variation)) return false;
    if (filter.warning && !job.warned.includes(filter.warning)) return false;
    if (labelName && !job.labels.some(([name, value]) => name === labelName && (!labelValue || value === labelValue))) return false;
    if (!words.length) return true;
    const text = [job.id, job.key, job.step, job.mode, ...job.labels.map(([name, value]) => `${name}=${value}`)].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  };
}

const ORDER = { pending: 0, failed: 1, not_found: 2, invalid: 3, expired: 4, done: 5 };
const SORTS = {
  state: (job) => ORDER[job.state] ?? 9,
  step: (job) => job.step ?? "",
  progress: (job) => job.progress ?? -1,
  time: (job, time) => age(job, time),
  registered: (job) => job.registered,
};

// Return the jobs that a filter admits, sorted; the newest first unless it says otherwise.
export function select(jobs, filter, summary) {
  const found = [];
  const admitted = admits(filter, summary);
  for (const job of jobs) if (admitted(job)) found.push(job);
  const time = now();
  const [, sign, name] = /^(-?)(\w*)$/.exec(filter.sort) ?? [];
  const value = SORTS[name] ?? SORTS.registered;
  const way = SORTS[name] && !sign ? 1 : -1;
  const keyed = found.map((job) => ({ job, key: value(job, time) }));
  keyed.sort((one, other) => {
    if (one.key !== other.key) return (one.key < other.key ? -1 : 1) * way;
    if (one.job.registered !== other.job.registered) return other.job.registered - one.job.registered;
    return (one.job.id < other.job.id ? -1 : 1) * way;
  });
  return keyed.map(({ job }) => job);
}
