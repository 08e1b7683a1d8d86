// Loaded before the first paint, so that the page does not flash in another theme.
"use strict";
try {
  const chosen = localStorage.getItem("removit-exporter.theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system's theme is used.
}
