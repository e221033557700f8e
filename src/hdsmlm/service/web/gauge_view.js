// The density while the microscope writes: a figure, and its course.

import { $ } from "./page.js";
import { sized } from "./viewport.js";

const MOST_POINTS = 600;

/** Shows the gauge of a live job; `look(job_id)` fetches it. */
export class GaugeView {
  constructor(look) {
    this.look = look;
    this.course = [];
    this.jobId = null;
  }

  /** Follow a live job until it ends; null hides the gauge. */
  follow(job, hasEnded) {
    $("gauge").hidden = !job;
    if (job?.job_id === this.jobId) return;
    this.jobId = job?.job_id ?? null;
    this.course = [];
    clearTimeout(this.timer);
    if (job) this._poll(hasEnded);
  }

  async _poll(hasEnded) {
    const id = this.jobId;
    try {
      const gauge = await this.look(id);
      if (id !== this.jobId) return;
      this._show(gauge);
      if (hasEnded(gauge)) return;
    } catch {
      // the next look may succeed; what is shown stays
    }
    if (id === this.jobId) this.timer = setTimeout(() => this._poll(hasEnded), 1000);
  }

  _show(gauge) {
    const density = gauge.density_last_frames;
    $("gauge-now").textContent = density === null ? "–" : density.toFixed(2);
    $("gauge-text").textContent = gauge.frame
      ? `per µm² and frame · frame ${gauge.frame} · ${gauge.behind_s === null ? "" : `${gauge.behind_s.toFixed(1)} s behind`}`
      : "waits for the first frames";
    const last = this.course.at(-1);
    if (density !== null && last?.frame !== gauge.frame) this.course.push({ frame: gauge.frame, density });
    if (this.course.length > MOST_POINTS) this.course = this.course.filter((_, k) => k % 2 === 0);
    this._draw();
  }

  _draw() {
    const canvas = $("gauge-course");
    if (!canvas.clientWidth || this.course.length < 2) return;
    const { context, ratio, width, height } = sized(canvas);
    context.clearRect(0, 0, width, height);
    const highest = Math.max(...this.course.map(({ density }) => density)) || 1;
    const first = this.course[0].frame;
    const span = this.course.at(-1).frame - first || 1;
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 1.6 * ratio;
    context.beginPath();
    for (const { frame, density } of this.course) {
      const x = ((frame - first) / span) * (width - 2 * ratio) + ratio;
      context.lineTo(x, height - 2 * ratio - (density / highest) * (height - 4 * ratio));
    }
    context.stroke();
  }
}
