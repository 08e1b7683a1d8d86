// The page's wiring: passes what is read and received to the parts that show it.

import { AnswerError, getEvents, getSummary } from "./api.js";
import { find, icon, inFrame, setAttribute, setText } from "./dom.js";
import { count, number } from "./format.js";
import { announce, Connection, showTroubles, Tiles, Upstream } from "./head.js";
import { Jobs } from "./jobs.js";
import { Live } from "./live.js";
import { Panel } from "./panel.js";
import { format, go, onRoute, route } from "./route.js";
import { parameters, select } from "./select.js";
import { Events, showExporter, showKinds, showSteps } from "./side.js";
import { Table } from "./table.js";
import { showCount, Toolbar } from "./toolbar.js";

const SETTLE_MS = 300; // between two orders of the table
const SUMMARY_MS = 2000;
const QUIET_SUMMARY_MS = 10000;
const SEEK_MS = 400; // after the last key
const AGAIN_MS = 3000;
const PAST_EVENTS = 200;
const KEPT_LOOK_MS = 600000; // between two looks for jobs that are kept no longer

let summary = null;
let summaryAt = 0;
let orderedAt = 0;
let orderTimer = 0;
let seekTimer = 0;
let happened = true;
let asking = false;
let readAt = 0;

const table = new Table();
const toolbar = new Toolbar();
const tiles = new Tiles();
const upstream = new Upstream();
const events = new Events();
const jobs = new Jobs({ onChange: changed, onTrouble: troubled });
const panel = new Panel({ onClose: closePanel, readJob: (id) => jobs.readOne(id) });
const connection = new Connection(() => live.tryNow());
const live = new Live({ onState: stand, onItem: take, onSummary: showSummary, begin });

function showSummary(fresh) {
  summary = fresh;
  summaryAt = Date.now();
  happened = false;
  table.setSummary(summary);
  panel.setSummary(summary);
  upstream.show(summary);
  tiles.show(summary);
  toolbar.offer(summary, jobs.all());
  showKinds(summary);
  showSteps(summary);
  showTroubles(summary);
  showExporter(summary);
  changed();
}

// Progress without a stream is never sent again, so everything is read with each new stream.
function stand(state, retryAt) {
  connection.show(state, retryAt);
  if (state === "live") readAnew();
}

function readAnew() {
  readAt = Date.now();
  jobs.readAnew(parameters(route().filter)).then(() => {
    if (summary) toolbar.offer(summary, jobs.all()); // the next summary may be 10 s away
    jobs.seek(route().filter.q);
  });
}

// The exporter answered that it is unavailable, or it did not answer.
function troubled(error) {
  if (!(error instanceof AnswerError)) return live.suspect();
  return setTimeout(() => jobs.read(parameters(route().filter)), AGAIN_MS);
}

// Read everything: at the start, and when missed events are no longer available.
async function begin(fresh) {
  jobs.clear();
  readAnew();
  events.clear();
  const newest = fresh.newest_event_id;
  try {
    const past = await getEvents(Math.max(0, newest - PAST_EVENTS));
    events.addPast(past.filter((event) => event.id <= newest));
  } catch {
    // the events are no longer stored; it starts with new ones
  }
  events.show(true);
}

function take(item) {
  happened = true;
  if (item.type !== "progress") {
    events.add(item);
    tiles.add(item);
  }
  if (item.job_id) {
    jobs.apply(item);
    panel.touched(item.job_id);
  }
}

// Draw the rows in the next frame, and soon afterwards choose them again.
function changed() {
  inFrame(table.render);
  orderTimer ||= setTimeout(() => order(), Math.max(0, orderedAt + SETTLE_MS - Date.now()));
}

function order({ anew = false } = {}) {
  clearTimeout(orderTimer);
  orderTimer = 0;
  if (document.hidden && !anew) return;
  orderedAt = Date.now();
  const { filter } = route();
  const wanted = select(jobs.all(), filter, summary);
  const held = !anew && table.shown.length > 0 && table.isHeld();
  const differs = held && !sameJobs(wanted, table.shown);
  setAttribute(find("held"), "hidden", !differs);
  if (held) {
    const added = wanted.length - table.shown.length;
    setText(find("held"), added > 0 ? `${number(added)} more; show` : "Order held; show changes");
  } else {
    table.show(wanted, { anew });
  }
  tell(table.shown.length, anew);
}

const sameJobs = (some, others) => some.length === others.length && some.every((job, at) => job === others[at]);

function tell(shown, aloud) {
  const { sort, ...rest } = route().filter;
  const filtered = Object.values(rest).some(Boolean);
  const stored = summary ? Object.values(summary.jobs.stored).reduce((sum, one) => sum + one, 0) : 0;
  let text = filtered ? count(shown, "job matches", "jobs match") : count(shown, "job");
  if (jobs.failed) text += "; the exporter cannot read its jobs at the moment, retrying";
  else if (jobs.loading) text += ", reading…";
  else if (!jobs.isWhole(parameters(route().filter)) && stored > jobs.size) {
    text += ` among the newest ${number(jobs.size)} of ${number(stored)}; a filter by state, mode, source, variation or label reaches older ones`;
  }
  showCount(text);
  if (aloud) announce(text);
  const empty = find("empty");
  empty.hidden = shown > 0;
  if (!shown) {
    const none = filtered ? "No job matches." : "No job yet. Register one, and it appears here.";
    setText(empty, jobs.loading || !summary ? "Reading the jobs…" : none);
  }
}

function closePanel() {
  const id = route().id;
  go({ view: "list", id: null });
  if (id) table.focus(id);
  else find("help-link").focus();
}

function arrive(now, former) {
  if (now.view === "list") panel.close();
  else if (now.view !== former?.view || now.id !== former?.id) {
    if (now.view === "job") panel.openJob(now.id);
    else panel.openHelp();
  }
  table.setOpen(now.id);
  setAttribute(find("help-link"), "href", format({ view: "help", filter: now.filter }));
  if (JSON.stringify(now.filter) === JSON.stringify(former?.filter)) return;
  order({ anew: true });
  if (former === null) return; // all is read as soon as the exporter answers
  jobs.read(parameters(now.filter));
  clearTimeout(seekTimer);
  if (now.filter.q) seekTimer = setTimeout(() => jobs.seek(now.filter.q), SEEK_MS);
}

async function refresh() {
  if (asking || document.hidden || find("connection").dataset.state !== "live") return;
  if (Date.now() - summaryAt < (happened ? SUMMARY_MS : QUIET_SUMMARY_MS)) return;
  asking = true;
  try {
    showSummary(await getSummary());
    // Pruned jobs have no event.
    if (jobs.size > tiles.all && !jobs.loading && Date.now() - readAt > KEPT_LOOK_MS) readAnew();
  } catch {
    live.suspect();
  } finally {
    asking = false;
  }
}

setInterval(() => {
  if (document.hidden) return;
  connection.tick();
  upstream.tick();
  table.tick();
  events.show();
  refresh();
  if (!find("held").hidden && !table.isHeld()) order();
}, 1000);

document.addEventListener("visibilitychange", () => document.hidden || changed());

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea") !== null;
  if (event.key === "Escape") {
    if (!toolbar.escape() && panel.isOpen) closePanel();
  } else if (typing) {
    if (event.key === "ArrowDown" && event.target === toolbar.search) table.focusActive();
  } else if (event.key === "/") {
    event.preventDefault();
    toolbar.search.focus();
    toolbar.search.select();
  } else if (event.key === "?") {
    go({ view: "help", id: null });
  }
});

find("held").addEventListener("click", () => order({ anew: true }));
find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  table.focusActive();
});

for (const button of find("panes").children) {
  button.addEventListener("click", () => {
    find("main").dataset.pane = button.dataset.pane;
    for (const other of find("panes").children) setAttribute(other, "aria-pressed", String(other === button));
  });
}

const THEMES = { system: "dark", dark: "light", light: "system" };

function showTheme() {
  const theme = document.documentElement.dataset.theme ?? "system";
  find("theme").replaceChildren(icon(theme));
  setAttribute(find("theme"), "aria-label", `Theme: ${theme === "system" ? "system" : theme}`);
  setAttribute(find("theme"), "title", `Theme: ${theme === "system" ? "system" : theme}`);
}

find("theme").addEventListener("click", () => {
  const theme = THEMES[document.documentElement.dataset.theme ?? "system"];
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("removit-exporter.theme", theme);
  } catch {
    // it lasts until the page is left
  }
  showTheme();
});

showTheme();
onRoute(arrive);
arrive(route(), null);
live.start();
