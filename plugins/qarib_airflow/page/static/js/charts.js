// Curves over the steps, drawn by uPlot (static/uplot, MIT licence, version 1.6.32).
import uPlot from "../uplot/uPlot.esm.js";
import { count, h, short } from "./dom.js";

const HEIGHT = 210;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Checkpoints as ticks on the axis, interruptions as dashed lines from top to bottom. */
function drawMarks(u, marks) {
  const { ctx, bbox } = u;
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height + 1);
  ctx.clip();
  ctx.fillStyle = colour("--c3");
  for (const step of marks.checkpoints) {
    const x = u.valToPos(step, "x", true);
    const y = bbox.top + bbox.height;
    ctx.beginPath();
    ctx.moveTo(x, y - 9 * ratio);
    ctx.lineTo(x - 4 * ratio, y);
    ctx.lineTo(x + 4 * ratio, y);
    ctx.fill();
  }
  ctx.strokeStyle = colour("--bad");
  ctx.lineWidth = 1.5 * ratio;
  ctx.setLineDash([5 * ratio, 4 * ratio]);
  for (const step of marks.interruptions) {
    const x = u.valToPos(step, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

/** One chart. `update(lines, points, marks)` redraws it; lines and points are [{name, colour, steps, values}]. */
export class Chart {
  constructor(title, format) {
    this.title = title;
    this.format = format;
    this.place = h("div", { class: "plot", role: "img" });
    this.node = h("section", { class: "card chart" }, h("h2", {}, title), this.place);
    this.shape = "";
    this.marks = { checkpoints: [], interruptions: [] };
    new ResizeObserver(() => this.fit()).observe(this.place);
    window.addEventListener("themechange", () => this.again());
  }

  update(lines, points, marks) {
    this.last = [lines, points, marks];
    this.marks = marks;
    const all = [...lines, ...points];
    const parts = all.filter((one) => one.steps.length);
    this.node.hidden = !parts.length;
    if (!parts.length) return;
    const shape = JSON.stringify(all.map((one) => [one.name, one.colour]));
    const data = uPlot.join(all.map((one) => [one.steps, one.values]));
    if (this.plot && this.shape === shape) {
      const { scales: { x: { min, max } }, data: [steps] } = this.plot;
      const zoomed = min > steps[0] || max < steps.at(-1);
      this.plot.setData(data, !zoomed);
      if (zoomed) this.plot.setScale("x", { min, max });
    } else {
      this.shape = shape;
      this.plot?.destroy();
      this.place.replaceChildren();
      this.plot = new uPlot(this.options(lines, points), data, this.place);
    }
    const ends = parts.map((one) => `${one.name} ${this.format(one.values.at(-1))} at step ${count(one.steps.at(-1))}`);
    this.place.setAttribute("aria-label", `${this.title}: ${ends.join(", ")}`);
  }

  again() {
    this.shape = "";
    if (this.last) this.update(...this.last);
  }

  fit() {
    const width = this.place.clientWidth;
    if (this.plot && width && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: HEIGHT });
  }

  options(lines, points) {
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const value = (_, number) => (number === null || number === undefined ? "–" : this.format(number));
    return {
      width: this.place.clientWidth || 420,
      height: HEIGHT,
      padding: [8, 10, 0, 0],
      cursor: { sync: { key: "step" }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false } },
      axes: [
        { ...axis, values: (_, steps) => steps.map((step) => short(step)), size: 28 },
        { ...axis, values: (_, numbers) => numbers.map((number) => this.format(number)), size: 62 },
      ],
      series: [
        { label: "step", value: (_, step) => (step === null || step === undefined ? "–" : count(step)) },
        ...lines.map((one) => ({ label: one.name, stroke: colour(one.colour), width: 1.75, spanGaps: true, points: { show: false }, value })),
        ...points.map((one) => ({ label: one.name, stroke: colour(one.colour), width: 0, paths: () => null, value,
          points: { show: true, size: 8, width: 2, stroke: colour(one.colour), fill: colour("--surface") } })),
      ],
      hooks: { draw: [(u) => drawMarks(u, this.marks)] },
    };
  }
}
