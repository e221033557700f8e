// Parts of the page that know nothing of movies: colours of the page, tabs, token, messages.

import { inPageWords } from "./words.js";

export const $ = (id) => document.getElementById(id);

const THEME_KEY = "hdsmlm-theme";

/** Light or dark: as the system says, until the reader chooses. `changed()` redraws canvases. */
export function wireTheme(changed) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const theme = localStorage.getItem(THEME_KEY) ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    $("theme").textContent = theme === "dark" ? "Light" : "Dark";
    changed();
  };
  dark.addEventListener("change", apply);
  $("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem(THEME_KEY, next);
    apply();
  });
  apply();
}

/** Tabs with arrow keys; `shown(id)` is told which view is to be seen. Returns a function to switch. */
export function wireTabs(shown) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const choose = (id, focus = false) => {
    for (const tab of tabs) {
      const chosen = tab.getAttribute("aria-controls") === id;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      $(tab.getAttribute("aria-controls")).hidden = !chosen;
      if (chosen && focus) tab.focus();
    }
    shown(id);
  };
  tabs.forEach((tab, at) => {
    tab.type = "button";
    tab.addEventListener("click", () => choose(tab.getAttribute("aria-controls")));
    tab.addEventListener("keydown", (event) => {
      const far = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1
        : far && (at + far + tabs.length) % tabs.length;
      if (to === undefined) return;
      event.preventDefault();
      choose(tabs[to].getAttribute("aria-controls"), true);
    });
  });
  return choose;
}

/** Ask for the token in a dialog; resolves to the text, or null when the reader gives up. */
export function askToken(wasWrong) {
  const dialog = $("token-dialog");
  $("token-text").textContent = wasWrong
    ? "This token is not the right one. It stands where the server was started."
    : "This server is reached over the network. Type the token that it printed when it started.";
  askToken.waiting ??= new Promise((resolve) => {
    $("token").value = "";
    dialog.addEventListener("close", () => {
      askToken.waiting = null;
      resolve(dialog.returnValue === "ok" ? $("token").value.trim() || null : null);
    }, { once: true });
    $("token-cancel").onclick = () => dialog.close("");
    dialog.returnValue = "";
    dialog.showModal();
    $("token").focus();
  });
  return askToken.waiting;
}

/** Show what went wrong; an empty message clears it. */
export function tell(error) {
  const text = inPageWords(typeof error === "string" ? error : error?.message ?? "");
  if (text) console.info(text);
  $("alert-box").hidden = !text;
  $("alert").textContent = text;
}

/** Take a file that is dropped anywhere on the page. */
export function wireDrop(taken) {
  const drop = $("drop");
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => event.preventDefault()); // a miss must not leave the page
  }
  document.addEventListener("dragenter", () => drop.classList.add("over"));
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    const files = event.dataTransfer?.files ?? [];
    if (files.length > 1) tell("One movie at a time: drop a single file.");
    else taken(files[0]);
  });
}
