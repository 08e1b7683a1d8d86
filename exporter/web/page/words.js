// The exporter's data in words. Texts from a job are passed on unchanged, as text.

export const STATES = ["pending", "done", "failed", "not_found", "invalid", "expired"];

const STATE_WORDS = {
  pending: "Pending",
  done: "Done",
  failed: "Failed",
  not_found: "Not found",
  invalid: "Invalid",
  expired: "Expired",
};

export const stateWord = (state) => STATE_WORDS[state] ?? state;

export const SOURCES = ["config", "file", "api", "status", "upload", "plugin"];

const SOURCE_WORDS = {
  config: "the config",
  file: "a job file",
  api: "the API",
  status: "a status request",
  upload: "an upload",
  plugin: "the embedding program",
};

export const sourceWord = (source) => SOURCE_WORDS[source] ?? source;

const UPSTREAM_WORDS = {
  unknown: ["unknown", "The upstream has not answered yet"],
  well: ["well", "The upstream is well"],
  suspect: ["trouble", "Many answers are errors, but some jobs are served"],
  down: ["trouble", "The upstream is down; no job is blamed for it"],
  throttled: ["trouble", "The upstream asks for fewer requests"],
  blocked: ["trouble", "A firewall or proxy in front of the API forbids requests (403)"],
  key_rejected: ["trouble", "The API key is rejected; polling is suspended"],
};

// The sign and the sentence for the upstream's state.
export const upstreamWords = (state) => UPSTREAM_WORDS[state] ?? ["unknown", state];

const REASONS = {
  schedule: "on schedule, which is learned from earlier jobs.",
  retry_after: "because the upstream asked us to wait (Retry-After, or too many requests).",
  suspected: "because its last answers were errors; more answers help to decide what they mean.",
  recheck: "because its end was inferred; a later answer may overturn it.",
  upstream_down: "when the upstream, which is down, is retried.",
  key_rejected: "when the API key, which is rejected, is retried.",
};

export const reasonWords = (reason) => REASONS[reason] ?? `(${reason}).`;

const CODES = {
  timeout: "no answer in time",
  connection: "no connection",
  invalid_body: "unreadable answer",
  not_asked: "not asked",
};

// The result of a poll: an HTTP status, or why there was none.
export const codeWords = (code) => CODES[code] ?? code;

const list = (texts) => (Array.isArray(texts) ? texts : []).join("; ");

const EVENTS = {
  registered: (data) => ["plus", `Registered by ${sourceWord(data.source)}`],
  first_answer: () => ["event", "First answer"],
  step_changed: (data) => ["event", `Step ${data.step}`, data.from_step ? `after ${data.from_step}` : ""],
  progress_fell: (data) => ["event", `Progress fell from ${Math.round(data.from_progress)} to ${Math.round(data.progress)}\u00a0%`],
  warning_raised: (data) => ["warning", `Warning about ${data.variation}`, list(data.messages)],
  variation_ignored: (data) => ["ignored", `Ignored ${data.variation}`, list(data.messages)],
  drift: (data) => ["warning", `Deviation from the contract: ${data.kind}`, data.detail],
  suspected: (data) => ["suspected", `Suspected: answered ${data.http_status}`, [data.error, data.missing?.length && `a verdict lacks ${list(data.missing)}`].filter(Boolean).join("; ")],
  cleared: () => ["well", "No longer suspected"],
  finished: (data) => [data.state, stateWord(data.state), finish(data)],
  overturned: (data) => ["back", `Verdict overturned: not ${stateWord(data.from).toLowerCase()} after all`],
  forgotten: (data) => ["minus", "Forgotten", data.reason],
  upstream_changed: (data) => [...upstreamWords(data.to), data.code ? `last answer: ${codeWords(data.code)}` : ""],
};

function finish(data) {
  if (data.without_result) return "without a result";
  return data.evidence === "explicit" ? "the upstream said so" : data.evidence;
}

// The sign, the sentence and the details of an event; all strings.
export function eventWords(event) {
  const describe = EVENTS[event.type];
  const [sign, text, more] = describe ? describe(event.data ?? {}) : ["event", event.type, ""];
  return { sign: String(sign), text: String(text), more: more ? String(more) : "" };
}

// Whether an event matters to a reader who does not follow each job.
export function notable(event) {
  if (event.type === "finished") return event.data.state !== "done" || event.data.without_result === true;
  return !["registered", "first_answer", "step_changed", "cleared"].includes(event.type);
}
