// Movies that lie on the server: folders are looked through, nothing is uploaded.

import * as api from "./api.js";
import { $ } from "./page.js";

/** The dialog; `take(path)` and `watch(path, idle_s)` are what can be done with a file or folder. */
export class ServerFiles {
  constructor(take, watch, failed) {
    Object.assign(this, { take, watch, failed });
    this.path = null;
    $("server-files").addEventListener("click", () => this.open().catch(failed));
    $("folder-close").addEventListener("click", () => $("folder-dialog").close());
    $("folder-up").addEventListener("click", () => this._attempt(() => this.enter(this.parent)));
    $("folder-take").addEventListener("click", () => this._attempt(() => this._use(this.take)));
    $("folder-watch").addEventListener("click", () => this._attempt(() => this._use(this.watch)));
  }

  async open() {
    $("folder-text").textContent = "";
    await this.show(this.path);
    $("folder-dialog").showModal();
    this._focus();
  }

  /** Go into a folder; the keyboard goes with it, since the button that was pressed is gone. */
  async enter(path) {
    await this.show(path);
    this._focus();
  }

  async show(path) {
    const found = await api.folder(path).catch((error) => {
      if (path === null) throw error;
      return api.folder(null); // it is gone: begin with the allowed folders
    });
    this.path = found.path;
    this.parent = found.parent;
    this.chosen = null;
    $("folder-path").textContent = found.path ?? "Folders that this server allows";
    $("folder-up").disabled = found.path === null;
    $("folder-list").replaceChildren(...found.entries.map((entry) => this._entry(entry)));
    if (!found.entries.length) {
      const item = document.createElement("li");
      item.className = "note";
      item.textContent = found.path === null
        ? "None: the person who runs the server allows folders with --allow FOLDER."
        : "No folder and no movie in here.";
      $("folder-list").append(item);
    }
    this._say();
  }

  _entry({ name, path, kind }) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "quiet", textContent: kind === "folder" ? `${name} /` : name });
    button.addEventListener("click", () => {
      if (kind === "folder") this._attempt(() => this.enter(path));
      else {
        for (const other of $("folder-list").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
        button.setAttribute("aria-pressed", "true");
        this.chosen = path;
        this._say();
      }
    });
    item.append(button);
    return item;
  }

  _focus() {
    const first = $("folder-list").querySelector("button");
    (first ?? ($("folder-up").disabled ? $("folder-close") : $("folder-up"))).focus();
  }

  /** What the buttons would act on: the chosen file, else the folder that is shown. */
  _say() {
    const target = this.chosen ?? this.path;
    for (const name of ["folder-take", "folder-watch"]) $(name).disabled = !target;
    $("folder-text").textContent = !target ? "Choose a folder."
      : this.chosen ? `Chosen: ${this.chosen.split(/[\\/]/).pop()}`
        : "Without a choice: all frames of this folder, as one movie.";
  }

  async _use(act) {
    $("folder-text").textContent = "The server looks at it…";
    await act(this.chosen ?? this.path);
    $("folder-dialog").close();
  }

  _attempt(act) {
    Promise.resolve().then(act).catch((error) => { $("folder-text").textContent = error.message; });
  }
}
