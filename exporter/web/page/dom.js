// Makes all elements from text and attributes. Data is never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

// Return a new element. Properties become attributes, except `class`, `text` and `on` (listeners).
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else if (key === "on") for (const [type, listen] of Object.entries(value)) node.addEventListener(type, listen);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const find = (id) => document.getElementById(id);

// Write only what differs, so that the browser lays out only that.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

const PATHS = {
  pending: ["M8 1.8a6.2 6.2 0 1 1-6.2 6.2", "M8 4.6V8l2.3 1.6"],
  done: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8", "m5.2 8.2 2 2 3.7-4.1"],
  failed: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8", "m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4"],
  not_found: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8", "M6.2 6.3a1.9 1.9 0 1 1 2.7 1.8c-.6.3-.9.6-.9 1.2", "M8 11.4v.1"],
  invalid: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8", "m3.7 12.3 8.6-8.6"],
  expired: ["M4 1.8h8M4 14.2h8M4.9 1.8c0 4 6.2 4.4 6.2 6.2s-6.2 2.2-6.2 6.2", "M11.1 1.8c0 4-6.2 4.4-6.2 6.2s6.2 2.2 6.2 6.2"],
  all: ["M2.5 4h11M2.5 8h11M2.5 12h11"],
  suspected: ["M8 2 14.3 13.4H1.7Z", "M8 6.4v3.2M8 11.5v.1"],
  warning: ["M8 2 14.3 13.4H1.7Z", "M8 6.4v3.2M8 11.5v.1"],
  ignored: ["M2 8h2.2m2 0h3.6m2 0H14", "m4.6 12.4 6.8-8.8"],
  slow: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8", "M8 4.4V8H5.4"],
  key: ["M10.4 2a3.6 3.6 0 1 0 0 7.2 3.6 3.6 0 0 0 0-7.2", "M7.8 8.2 2.4 13.6v-.2m2.4-2 1.6 1.6"],
  well: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8", "m5.2 8.2 2 2 3.7-4.1"],
  trouble: ["M8 2 14.3 13.4H1.7Z", "M8 6.4v3.2M8 11.5v.1"],
  unknown: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8", "M5.4 8h5.2"],
  event: ["M8 6.4a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2"],
  plus: ["M8 3v10M3 8h10"],
  minus: ["M3 8h10"],
  back: ["M3 8.6a5 5 0 1 0 1.6-4.2L2.4 6.4", "M2.4 2.8v3.6H6"],
  light: ["M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6", "M8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8 13 13M13 3l-1.2 1.2M4.2 11.8 3 13"],
  dark: ["M13.6 9.7A6 6 0 0 1 6.3 2.4a6 6 0 1 0 7.3 7.3"],
  system: ["M2 2.8h12v8H2ZM5.6 13.4h4.8M8 10.8v2.6"],
  close: ["m3.6 3.6 8.8 8.8m0-8.8-8.8 8.8"],
};

// Return a sign. It is hidden from assistive technology, because each has a word next to it.
export function icon(name) {
  const node = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" })) {
    node.setAttribute(key, value);
  }
  for (const data of PATHS[name] ?? PATHS.event) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", data);
    node.append(path);
  }
  return node;
}

// Return a link to a result. Anything but a web address is shown as text and not linked.
export function resultLink(url) {
  let scheme = "";
  try {
    scheme = new URL(url).protocol;
  } catch {
    // not an address
  }
  if (scheme !== "https:" && scheme !== "http:") return el("span", { class: "url mono", text: url });
  return el("a", { class: "url mono", href: url, rel: "noreferrer noopener", target: "_blank", text: url });
}

let frame = 0;
const waiting = new Set();

// Return a function that runs `work` once in the next frame, however often it is called.
export function inFrame(work) {
  waiting.add(work);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const works = [...waiting];
    waiting.clear();
    for (const each of works) each();
  });
}
