// Requests to the exporter, by relative URLs, so that the page works under any prefix.

import { setClock } from "./format.js";

const PATIENCE_MS = 15000;
const TOKEN = "removit-exporter token";

// The token that the reader unlocked the page with, in this tab; null without one.
let token = sessionStorage.getItem(TOKEN);

export function keepToken(value) {
  token = value;
  sessionStorage.setItem(TOKEN, value);
}

export class AnswerError extends Error {
  constructor(status, body) {
    super(body?.message ?? `the exporter answered ${status}`);
    this.status = status;
  }
}

async function ask(path, accept, shown = token) {
  const response = await fetch(path, {
    headers: { Accept: accept, ...(shown && { Authorization: `Bearer ${shown}` }) },
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!response.ok) throw new AnswerError(response.status, await response.json().catch(() => null));
  return response;
}

export const getJson = async (path) => (await ask(path, "application/json")).json();

// Return whether the exporter accepts a token.
export async function tryToken(value) {
  const summary = await (await ask("api/v1/summary", "application/json", value)).json();
  return summary.results_shown;
}

export async function getSummary() {
  const sent = Date.now();
  const summary = await getJson("api/v1/summary");
  setClock(summary.now, sent, Date.now());
  return summary;
}

export const getJob = (id) => getJson(`api/v1/jobs/${encodeURIComponent(id)}`);

// One page of jobs, newest first: `{jobs, next}`.
export function getJobs(parameters) {
  return getJson(`api/v1/jobs?${new URLSearchParams(parameters)}`);
}

// The stored events after an id, of one type if that is given.
export async function getEvents(after, type = null) {
  const query = new URLSearchParams({ after, ...(type && { type }) });
  const text = await (await ask(`api/v1/events?${query}`, "application/x-ndjson")).text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}
