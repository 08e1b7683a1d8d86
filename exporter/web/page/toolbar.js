// Search and filters. They are kept in the page's address, so that a view can be shared.

import { el, find, setAttribute, setText } from "./dom.js";
import { go, NO_FILTER, onRoute, route } from "./route.js";
import { AILING, NOTED } from "./select.js";
import { SOURCES, STATES, stateWord } from "./words.js";

const PAUSE_MS = 120;
const MOST_NOTES = 100;

// The filter that an entry of the list of variations stands for.
function noted(entry) {
  const at = entry.indexOf("=");
  return { variation: "", warning: "", ...(at > 0 && { [entry.slice(0, at)]: entry.slice(at + 1) }) };
}

const noteWord = (entry) => entry.replace(/^variation=/, "Ignored: ").replace(/^warning=/, "Warning: ");

const options = (any, pairs) => [el("option", { value: "", text: any }), ...pairs.map(([value, text]) => el("option", { value, text }))];

export class Toolbar {
  #timer = 0;
  #modes = "";
  #values = "";
  #noted = "";

  constructor() {
    this.search = find("search");
    this.label = find("filter-label");
    this.selects = { state: find("filter-state"), mode: find("filter-mode"), source: find("filter-source") };
    const ailing = AILING.map((name) => [name, `Pending, ${name}`]);
    this.selects.state.append(...options("Any state", [...STATES.map((state) => [state, stateWord(state)]), ...ailing]));
    this.selects.source.append(...options("Any source", SOURCES.map((source) => [source, source])));
    this.selects.mode.append(...options("Any mode", []));
    for (const [name, select] of Object.entries(this.selects)) {
      select.addEventListener("change", () => this.#change({ [name]: select.value }));
    }
    this.note = find("filter-note");
    this.note.addEventListener("change", () => this.#change(noted(this.note.value)));
    for (const [name, input] of [["q", this.search], ["label", this.label]]) {
      input.addEventListener("input", () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#change({ [name]: input.value.trim() }, true), PAUSE_MS);
      });
    }
    find("toolbar").addEventListener("submit", (event) => event.preventDefault());
    find("clear").addEventListener("click", () => {
      this.#change({ ...NO_FILTER, sort: route().filter.sort });
      this.search.focus();
    });
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sort(button.dataset.sort));
    }
    onRoute(() => this.show());
    this.show();
  }

  // Offer the modes of the summary, the label names of the config, the labels of known jobs.
  offer(summary, jobs) {
    const modes = Object.keys(summary.modes).filter((mode) => mode !== "other");
    if (this.#modes !== modes.join("\n")) {
      this.#modes = modes.join("\n");
      this.selects.mode.replaceChildren(...options("Any mode", modes.map((mode) => [mode, mode])));
    }
    find("filter-label-box").hidden = !summary.label_names.length && !route().filter.label;
    const found = new Set(summary.label_names.map((name) => `${name}=`));
    const known = [...jobs];
    this.#offerNotes(known);
    for (const job of known) {
      if (found.size >= 100) break;
      for (const [name, value] of job.labels) found.add(`${name}=${value}`);
    }
    const values = [...found].sort();
    if (this.#values !== values.join("\n")) {
      this.#values = values.join("\n");
      find("label-values").replaceChildren(...values.map((value) => el("option", { value })));
    }
    this.show();
  }

  // Offer the variations that were ignored, or warned about, for known jobs.
  #offerNotes(jobs) {
    const found = new Set();
    for (const { ignored, warned } of jobs) {
      for (const name of ignored) found.add(`variation=${name}`);
      for (const name of warned) found.add(`warning=${name}`);
    }
    const values = [...found].sort().slice(0, MOST_NOTES);
    if (this.#noted === values.join("\n")) return;
    this.#noted = values.join("\n");
    this.note.replaceChildren(...options("Any variation", values.map((value) => [value, noteWord(value)])));
  }

  // Show the filter that the address names.
  show() {
    const { filter } = route();
    for (const [name, select] of Object.entries(this.selects)) {
      const known = [...select.options].some((option) => option.value === filter[name]);
      if (!known) select.append(el("option", { value: filter[name], text: filter[name] }));
      if (select.value !== filter[name]) select.value = filter[name];
    }
    const name = NOTED.find((one) => filter[one]);
    const note = name ? `${name}=${filter[name]}` : "";
    if (![...this.note.options].some((option) => option.value === note)) {
      this.note.append(el("option", { value: note, text: noteWord(note) }));
    }
    if (this.note.value !== note) this.note.value = note;
    find("filter-note-box").hidden = this.note.options.length < 2;
    for (const [name, input] of [["q", this.search], ["label", this.label]]) {
      if (input.value.trim() !== filter[name] && document.activeElement !== input) input.value = filter[name];
    }
    const { sort, ...rest } = filter;
    find("clear").hidden = !Object.values(rest).some(Boolean);
    this.#showSort(sort || "-registered");
  }

  // Clear the search; return whether there was a text.
  escape() {
    if (document.activeElement !== this.search) return false;
    if (this.search.value) {
      this.search.value = "";
      this.#change({ q: "" }, true);
    } else {
      this.search.blur();
    }
    return true;
  }

  #change(change, replace = false) {
    const filter = { ...route().filter, ...change };
    for (const [name, input] of [["q", this.search], ["label", this.label]]) {
      if (name in change && !change[name]) input.value = "";
    }
    go({ filter }, { replace });
  }

  // Sort newest, largest or slowest first; then in reverse; then as before.
  #sort(name) {
    const firsts = ["step", "state"].includes(name) ? [name, `-${name}`] : [`-${name}`, name];
    const at = firsts.indexOf(route().filter.sort || "-registered");
    this.#change({ sort: firsts[at + 1] ?? (at < 0 ? firsts[0] : "") }, true);
  }

  #showSort(sort) {
    for (const button of document.querySelectorAll("[data-sort]")) {
      const mine = sort.replace("-", "") === button.dataset.sort;
      const way = sort.startsWith("-") ? "descending" : "ascending";
      setAttribute(button.closest("th"), "aria-sort", mine ? way : null);
    }
  }
}

// Show how many jobs are shown, and which are missing.
export function showCount(text) {
  setText(find("count-text"), text);
}
