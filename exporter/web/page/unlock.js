// Unlocking the page: with the exporter's token it shows result links.
//
// The token is kept in this tab only, and goes to this exporter only.

import { el } from "./dom.js";
import { keepToken, tryToken } from "./api.js";

// Return the form. There is one, so that what is typed survives when the view around it is drawn anew.
export const unlockForm = make();

function make() {
  const input = el("input", { type: "password", name: "token", autocomplete: "off", required: true, placeholder: "Token", "aria-label": "Token" });
  const button = el("button", { type: "submit", text: "Unlock" });
  const problem = el("p", { class: "bad", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      if (await tryToken(input.value.trim())) {
        keepToken(input.value.trim());
        location.reload();
        return;
      }
      problem.textContent = "The exporter does not accept this token.";
    } catch {
      problem.textContent = "The exporter did not answer; try again.";
    }
    button.disabled = false;
  };
  return el("form", { class: "unlock", on: { submit } },
    el("p", { class: "muted", text: "Result links are shown once the page is unlocked with the exporter's token." }),
    el("div", { class: "unlock-row" }, input, button), problem);
}
