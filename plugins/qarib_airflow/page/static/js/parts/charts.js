// Curves over the steps, drawn by uPlot (static/uplot, MIT licence, version 1.6.32).
import uPlot from "../../uplot/uPlot.esm.js";
import { count, h, isNumber, moreFor, short } from "./dom.js";
import { downloads } from "./save.js";

const HEIGHT = 210;

const edges = (one) => [one.low, one.high].map((values) => ({ name: `${one.name} interval`, colour: one.colour, steps: one.steps, values }));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draw in the plot. A mark at the first or the last step is half outside. */
function within({ ctx, bbox }, draw) {
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left - 5 * ratio, bbox.top, bbox.width + 10 * ratio, bbox.height + 1);
  ctx.clip();
  ctx.lineWidth = 1.5 * ratio;
  draw(ctx, bbox, ratio);
  ctx.restore();
}

/** Checkpoints as ticks on the axis, interruptions as dashed lines from top to bottom. */
const drawMarks = (u, marks) => within(u, (ctx, bbox, ratio) => {
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
  ctx.setLineDash([5 * ratio, 4 * ratio]);
  for (const step of marks.interruptions) {
    const x = u.valToPos(step, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
});

/** Intervals as bars with caps, at each step of a line, or of a line of one step. */
const drawBars = (u, lines) => within(u, (ctx, _, ratio) => {
  lines.forEach((one, index) => {
    if (!one.low || !u.series[index + 1].show || !(one.bars || one.steps.length === 1)) return;
    ctx.strokeStyle = colour(one.colour);
    ctx.beginPath();
    one.steps.forEach((step, at) => {
      if (one.low[at] === null || one.high[at] === null) return;
      const x = u.valToPos(step, "x", true);
      const [low, high] = [one.low[at], one.high[at]].map((value) => u.valToPos(value, "y", true));
      ctx.moveTo(x, low);
      ctx.lineTo(x, high);
      for (const y of [low, high]) {
        ctx.moveTo(x - 3 * ratio, y);
        ctx.lineTo(x + 3 * ratio, y);
      }
    });
    ctx.stroke();
  });
});

/** The texts of an axis. A logarithmic one has none for most of its lines. */
function ticks(values, format) {
  const more = moreFor(values, format);
  return values.map((value) => (isNumber(value) ? format(value, more) : ""));
}

const NO_MARKS = { checkpoints: [], interruptions: [] };

/** Without points that a logarithmic axis cannot have. */
function positive(one, log) {
  if (!log.x && !log.y) return one;
  const kept = one.steps.map((step, at) => (!log.x || step > 0) && (!log.y || one.values[at] > 0));
  const only = (values) => values?.filter((_, at) => kept[at]);
  return { ...one, steps: only(one.steps), values: only(one.values), low: only(one.low), high: only(one.high) };
}

/**
 * One chart. `update(lines, points, marks)` redraws it; lines and points are [{name, colour, steps, values}].
 * A line can have the ends of intervals, `low` and `high`: a band, or with `bars` a bar at each step. With `dash` it is
 * dashed, with `dots` each step has a dot. One that is `off` is not drawn. A `level` does not belong to a step. A line in the `background` is thin, and no
 * part of the description for screen readers. `x` is what the steps are, `log` the logarithmic axes, and `toggled` is
 * called with the name of a line that a click on the legend hides or shows.
 */
export class Chart {
  constructor(title, format, { heading = "h2", axis = null } = {}) {
    this.title = title;
    this.format = format;
    this.axis = axis;
    this.x = { name: "step", format: count };
    this.log = { x: false, y: false };
    this.place = h("div", { class: "plot", role: "img" });
    const colours = () => ({ surface: colour("--surface"), text: colour("--text"), line: colour("--line") });
    this.node = h("section", { class: "card chart", hidden: true }, h("div", { class: "row spread" }, h(heading, {}, title), downloads(this, colours)), this.place);
    this.shape = "";
    this.marks = NO_MARKS;
    this.lines = [];
    new ResizeObserver(() => this.fit()).observe(this.place);
    const themed = () => {
      if (this.plot && !this.node.isConnected) window.removeEventListener("themechange", themed); // Its view was left.
      else this.again();
    };
    window.addEventListener("themechange", themed);
  }

  update(...wanted) {
    const start = performance.now();
    this.last = wanted;
    const [lines, points] = [wanted[0], wanted[1] || []].map((all) => all.map((one) => positive(one, this.log)));
    const marks = wanted[2] || NO_MARKS;
    this.marks = marks;
    this.lines = lines;
    const all = [...lines, ...points, ...lines.filter((one) => one.low).flatMap(edges)];
    const parts = [...lines, ...points].filter((one) => one.steps.length);
    this.node.hidden = !parts.length;
    if (!parts.length) return;
    const scales = JSON.stringify([this.x.name, this.log]);
    const shape = JSON.stringify([scales, this.axis, all.map((one) => [one.name, one.colour, one.off])]);
    const data = uPlot.join(all.map((one) => [one.steps, one.values]));
    // It stays also when a new line makes another chart.
    const zoom = this.scales === scales ? this.zoom() : null;
    this.scales = scales;
    if (this.plot && this.shape === shape) this.plot.setData(data, !zoom);
    else {
      this.shape = shape;
      this.plot?.destroy();
      this.place.replaceChildren();
      this.plot = new uPlot(this.options(lines, points), data, this.place);
    }
    if (zoom) this.plot.setScale("x", zoom);
    performance.measure(`chart ${this.title}`, { start });
    const ends = parts.filter((one) => !one.background && !one.off).map((one) => `${one.name} ${this.format(one.values.at(-1))}${this.interval(one.low?.at(-1), one.high?.at(-1))}`
      + (one.level ? "" : ` at ${this.x.name} ${this.x.format(one.steps.at(-1))}`));
    this.place.setAttribute("aria-label", `${this.title}: ${ends.join(", ")}`);
  }

  zoom() {
    if (!this.plot) return null;
    const { scales: { x: { min, max } }, data: [steps] } = this.plot;
    return min > steps[0] || max < steps.at(-1) ? { min, max } : null;
  }

  again() {
    this.shape = "";
    if (this.last) this.update(...this.last);
  }

  fit() {
    const width = this.place.clientWidth;
    if (this.plot && width && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: HEIGHT });
  }

  interval(low, high) {
    return isNumber(low) && isNumber(high) ? ` (${this.format(low)} to ${this.format(high)})` : "";
  }

  options(lines, points) {
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const value = (_, number) => (number === null || number === undefined ? "–" : this.format(number));
    // The ends of intervals follow the lines and the points. They are drawn as the fill between them.
    const ranges = lines.filter((one) => one.low);
    const first = 1 + lines.length + points.length;
    const end = (of) => first + 2 * ranges.indexOf(of);
    const valueOf = (one) => !one.low ? value
      : (u, number, _, at) => value(u, number) + (isNumber(number) ? this.interval(u.data[end(one)][at], u.data[end(one) + 1][at]) : "");
    const dots = (one) => ({ show: Boolean(one.dots) || one.steps.length === 1, size: 6, fill: colour(one.colour) });
    return {
      width: this.place.clientWidth || 420,
      height: HEIGHT,
      padding: [8, 10, 0, 0],
      cursor: { sync: { key: "step" }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false, distr: this.log.x ? 3 : 1 }, y: { distr: this.log.y ? 3 : 1 } },
      axes: [
        { ...axis, values: (_, steps) => ticks(steps, this.x.short || short), size: 28 },
        { ...axis, values: (_, numbers) => ticks(numbers, this.format), size: 62,
          ...(this.axis ? { label: this.axis, labelSize: 18, labelFont: "12px system-ui, sans-serif", labelGap: 2 } : {}) },
      ],
      series: [
        { label: this.x.name, value: (_, step) => (step === null || step === undefined ? "–" : this.x.format(step)) },
        ...lines.map((one) => ({ label: one.name, show: !one.off, stroke: colour(one.colour), width: one.background ? 1.25 : 1.75, spanGaps: true, points: dots(one), dash: one.dash, value: valueOf(one) })),
        ...points.map((one) => ({ label: one.name, show: !one.off, stroke: colour(one.colour), width: 0, paths: () => null, value,
          points: { show: true, size: 8, width: 2, stroke: colour(one.colour), fill: colour("--surface") } })),
        ...ranges.flatMap(edges).map((one) => ({ label: one.name, class: "edge", stroke: "transparent", width: 1, spanGaps: true, points: { show: false } })),
      ],
      bands: ranges.filter((one) => !one.bars).map((one) => ({ series: [end(one) + 1, end(one)], fill: `${colour(one.colour)}2e` })),
      hooks: {
        draw: [(u) => drawMarks(u, this.marks), (u) => drawBars(u, this.lines)],
        setSeries: [(u, index, { show }) => {
          const one = index && show !== undefined ? lines[index - 1] : null;
          if (index && show !== undefined && this.toggled) this.toggled([...lines, ...points][index - 1]?.name, show);
          if (one?.low && u.series[end(one)].show !== show) for (const edge of [0, 1]) u.setSeries(end(one) + edge, { show });
        }],
      },
    };
  }
}
