// A slider with two ends, made of two native ones: keyboard and screen readers work as usual.

const STEPS = 200;

/** Two-ended slider in `box`; `heard(low, high)` gets fractions 0..1 while it moves. */
export class RangeSlider {
  constructor(box, label, heard) {
    this.box = box;
    this.heard = heard;
    this.fill = document.createElement("span");
    this.fill.className = "fill";
    this.ends = ["lowest", "highest"].map((end) => {
      const input = document.createElement("input");
      Object.assign(input, { type: "range", min: 0, max: STEPS, step: 1 });
      input.setAttribute("aria-label", `${label}, ${end}`);
      input.addEventListener("input", () => this._moved(input));
      return input;
    });
    box.append(this.fill, ...this.ends);
    this.set(0, 1);
  }

  get low() {
    return Number(this.ends[0].value) / STEPS;
  }

  get high() {
    return Number(this.ends[1].value) / STEPS;
  }

  set(low, high) {
    this.ends[0].value = Math.round(low * STEPS);
    this.ends[1].value = Math.round(high * STEPS);
    this._paint();
  }

  /** Texts that a screen reader says instead of the raw numbers. */
  say(low, high) {
    this.ends[0].setAttribute("aria-valuetext", low);
    this.ends[1].setAttribute("aria-valuetext", high);
  }

  disable(off) {
    for (const end of this.ends) end.disabled = off;
  }

  _moved(input) {
    const [low, high] = this.ends.map((end) => Number(end.value));
    if (low > high - 1) input.value = input === this.ends[0] ? high - 1 : low + 1;
    this._paint();
    this.heard(this.low, this.high);
  }

  _paint() {
    this.fill.style.left = `${100 * this.low}%`;
    this.fill.style.width = `${100 * Math.max(0, this.high - this.low)}%`;
    this.ends[0].style.zIndex = this.low > 0.5 ? 2 : 1;
    this.ends[1].style.zIndex = this.low > 0.5 ? 1 : 2;
  }
}
