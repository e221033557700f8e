// Choice of task, model and camera.

import * as api from "./api.js";
import { $ } from "./page.js";

const MOST_CAMERA_BYTES = 256_000;
const FILE = "file";

/** The form that starts an analysis; `start(wanted)` gets all but the movie. */
export class StartForm {
  constructor(start, failed) {
    this.models = [];
    this.cameras = [];
    this.yaml = null;
    this.doctor = null;
    this.failed = failed;
    $("start").addEventListener("submit", async (event) => {
      event.preventDefault();
      $("go").disabled = true;
      try {
        await start(this.wanted());
      } catch (error) {
        failed(error);
      } finally {
        $("go").disabled = !this.ready;
      }
    });
    $("camera").addEventListener("change", () => {
      if ($("camera").value === FILE && !this.yaml) $("camera-file").click();
      this.explain();
    });
    $("camera-file").addEventListener("change", () => this._readCamera().catch(failed));
    $("camera-file").addEventListener("cancel", () => {
      if (!this.yaml) $("camera").value = "auto";
      this.explain();
    });
    for (const name of ["kind", "model"]) $(name).addEventListener("change", () => this.explain());
  }

  async load() {
    [this.models, this.cameras] = await Promise.all([api.models(), api.cameras()]);
    const chosen = $("model").value;
    $("model").replaceChildren(...this.models.map(({ name }) => new Option(name, name)));
    const names = this.models.map(({ name }) => name);
    $("model").value = names.includes(chosen) ? chosen : names.includes("wolf") ? "wolf" : names[0] ?? "";
    this._listCameras($("camera").value || "auto");
  }

  setReady(ready) {
    this.ready = ready;
    $("go").disabled = !ready;
  }

  /** Offer the camera that a doctor job found, and choose it. */
  useDoctor(job, movieName) {
    this.doctor = { id: job.job_id, name: movieName };
    this._listCameras(`doctor:${job.job_id}`);
    $("kind").value = "localize";
    this.explain();
    $("go").focus();
  }

  wanted() {
    const camera = $("camera").value;
    if (camera === FILE && !this.yaml) throw new Error("Choose the camera.yaml first, or let the camera be estimated.");
    return {
      kind: $("kind").value,
      model: $("model").value,
      camera: camera === FILE ? { yaml: this.yaml.text } : camera,
      pixel_size_nm: $("pixel").value ? Number($("pixel").value) : null,
      options: this.options(),
    };
  }

  /** The options that are set and belong to the task; empty fields leave the server's own. */
  options() {
    const kind = $("kind").value;
    const found = {};
    const set = (name, value) => { if (value !== null && value !== "") found[name] = value; };
    const number = (id) => ($(id).value === "" ? null : Number($(id).value));
    if (kind === "localize") set("fit", $("option-fit").value);
    if (kind === "predict") set("count_map", $("option-map").value);
    if (["localize", "predict"].includes(kind)) {
      const last = number("option-last");
      set("first_frame", number("option-first"));
      set("last_frame", last === null ? null : last + 1); // the server's end is exclusive
      set("threshold", number("option-threshold"));
    }
    if (["localize", "titrate"].includes(kind)) set("sigma_px", number("option-sigma"));
    if (kind === "titrate") {
      set("reliable_f1", number("option-f1"));
      if ($("option-factors").value.trim()) found.factors = factors($("option-factors").value);
    }
    if ($("option-truncated").checked) found.allow_truncated = true;
    return found;
  }

  explain() {
    const model = this.models.find(({ name }) => name === $("model").value);
    const camera = this.cameras.find(({ name }) => name === $("camera").value);
    const kind = $("kind").value;
    const off = kind === "doctor";
    for (const field of $("options").querySelectorAll("[data-for]")) {
      field.hidden = !field.dataset.for.split(" ").includes(kind);
    }
    $("camera").disabled = off;
    const told = document.activeElement === $("camera") && camera ? camera.summary : model?.summary ?? "";
    $("choice").textContent = told;
    $("choice").title = told;
  }

  _listCameras(chosen) {
    const options = [new Option("from the movie (auto)", "auto")];
    for (const { name } of this.cameras) if (name !== "auto") options.push(new Option(name, name));
    if (this.doctor) options.push(new Option(`found in ${this.doctor.name}`, `doctor:${this.doctor.id}`));
    options.push(new Option(this.yaml ? this.yaml.name : "from a file (camera.yaml)…", FILE));
    $("camera").replaceChildren(...options);
    $("camera").value = chosen;
    if (!$("camera").value) $("camera").value = "auto";
    this.explain();
  }

  async _readCamera() {
    const file = $("camera-file").files[0];
    if (!file) return;
    $("camera-file").value = "";
    if (file.size > MOST_CAMERA_BYTES) {
      this._listCameras("auto");
      throw new Error(`${file.name} is too large for a camera file. Choose the camera.yaml that "hdsmlm doctor" wrote.`);
    }
    this.yaml = { name: file.name, text: await file.text() };
    this._listCameras(FILE);
  }
}

/** Numbers of frames from a list as people type it. */
export function factors(text) {
  const found = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (!found.every((one) => Number.isInteger(one) && one > 0)) {
    throw new Error(`“${text}” are no numbers of frames; type whole numbers, such as 1, 2, 5, 10.`);
  }
  return found;
}
