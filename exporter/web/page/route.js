// The route in the page's address: `#/?state=failed&q=sku`, `#/job/ID`, `#/help`.

export const NO_FILTER = { state: "", mode: "", source: "", label: "", variation: "", warning: "", q: "", sort: "" };

// Read an address; unknown parts are ignored.
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?", 2);
  const parameters = new URLSearchParams(query);
  const filter = { ...NO_FILTER };
  for (const name of Object.keys(filter)) filter[name] = (parameters.get(name) ?? "").slice(0, 400);
  const job = /^\/job\/(.+)$/.exec(path);
  if (job) return { view: "job", id: decode(job[1]), filter };
  return { view: path === "/help" ? "help" : "list", id: null, filter };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Write an address.
export function format({ view = "list", id = null, filter = NO_FILTER }) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(filter)) if (value) parameters.set(name, value);
  const query = parameters.toString();
  const path = view === "job" ? `/job/${encodeURIComponent(id)}` : view === "help" ? "/help" : "/";
  return `#${path}${query ? `?${query}` : ""}`;
}

const listeners = [];
let current = parse(location.hash);

export const route = () => current;

// Call `listener` with each new route and the former one.
export function onRoute(listener) {
  listeners.push(listener);
}

// Go to a route; with `replace` without a new entry in the browser's history.
export function go(change, { replace = false } = {}) {
  const target = format({ ...current, ...change });
  if (target === location.hash) return;
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  arrive();
}

function arrive() {
  const former = current;
  current = parse(location.hash);
  for (const listener of listeners) listener(current, former);
}

window.addEventListener("hashchange", arrive);
window.addEventListener("popstate", () => {
  if (format(current) !== location.hash) arrive();
});
