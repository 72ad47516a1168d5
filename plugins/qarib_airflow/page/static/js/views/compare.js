// Two to eight runs side by side: every chart with all of them, and in what they differ. The address has the complete view.
import { Chart } from "../parts/charts.js";
import { addressOf, apart, badge, bytes, card, check, count, decimal, duration, empty, fill, h, isNumber, labelled, money, out, percent, short } from "../parts/dom.js";
import { saveTable } from "../parts/save.js";
import { losses, rates, shares } from "./training.js";

const AXES = {
  step: { name: "step", title: "Steps", format: count },
  examples: { name: "examples", title: "Examples", format: count },
  hours: { name: "hours", title: "Hours of training", format: (value, more = 0) => decimal(value, 2 + more), short: (value, more = 0) => String(Number(value.toPrecision(3 + more))) },
  dollars: { name: "US dollars", title: "US dollars", format: money, short: (value, more = 0) => `$${Number(value.toPrecision(3 + more))}` },
};
const SMOOTHING = ["", "0.01", "0.02", "0.05", "0.1", "0.2"];
const FORMATS = { text: (value) => (value === null ? "–" : String(value)), count, bytes, decimal: losses, percent: (value, more = 0) => percent(value, 2 + more), money, duration,
  number: (value, more = 0) => (Number.isInteger(value) ? count(value) : losses(value, more)) };
const CHARTS = [
  ["masked_lm_loss", "Masked-LM loss", losses],
  ["masked_lm_accuracy", "Masked-LM accuracy", shares],
  ["next_sentence_loss", "Next-sentence loss", losses],
  ["next_sentence_accuracy", "Next-sentence accuracy", shares],
  ["learning_rate", "Learning rate", rates],
  ["examples_per_second", "Examples per second", short],
];
const MOST_RUNS = 8;

/** The value at a step of a line through points; before the first one from 0. */
function between({ step: steps, value: values }, step) {
  const next = steps.findIndex((one) => one >= step);
  if (next < 0) return values.at(-1);
  const [from, low] = next ? [steps[next - 1], values[next - 1]] : [0, 0];
  return steps[next] === from ? values[next] : low + ((values[next] - low) * (step - from)) / (steps[next] - from);
}

/** What turns a run's steps into an axis; null if that is not known of the run. */
function axisOf(run, axis) {
  if (axis === "examples") return isNumber(run.batch) ? (step) => step * run.batch : null;
  if (axis === "hours") return run.hours ? (step) => between(run.hours, step) : null;
  if (axis === "dollars") return run.hours && isNumber(run.price) ? (step) => between(run.hours, step) * run.price : null;
  return (step) => step;
}

class Compare {
  constructor({ query, ask, keep }) {
    Object.assign(this, { query, ask, keep });
    this.list = h("ol", { class: "compared" });
    this.charts = Object.fromEntries(CHARTS.map(([name, title, format]) => [name, this.chart(title, format)]));
    this.tasks = {};
    const options = (values) => values.map(([value, text]) => h("option", { value }, text));
    const select = (name, title, values, changed) => {
      const input = h("select", { id: `compare-${name}`, on: { change: () => { this.put(name, input.value); changed(); } } }, options(values));
      input.value = query.get(name);
      if (input.selectedIndex < 0) input.selectedIndex = 0; // A link can have anything.
      return labelled(title, input);
    };
    const box = (name, title, changed) => check(title, query.has(name), (on) => { this.put(name, on ? "1" : ""); changed(); });
    const draw = () => this.draw();
    this.tools = h("div", { class: "fields" }, select("x", "Axis", Object.entries(AXES).map(([name, { title }]) => [name, title]), draw),
      select("smooth", "Smoothing", SMOOTHING.map((share) => [share, share ? `mean over ${100 * share}% of the steps` : "none"]), () => this.ask()),
      h("div", { class: "boxes" }, box("logx", "Logarithmic axis", draw), box("logy", "Logarithmic values", draw)));
    this.link = h("div");
    this.notes = h("div");
    this.curves = h("div", { class: "two" }, Object.values(this.charts).map((chart) => chart.node));
    this.table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Differences" });
    this.rows = card("Differences", h("div", { class: "row spread" }, box("all", "Also what is the same", () => this.tabulate()),
      h("button", { type: "button", on: { click: () => this.saveRows() } }, "CSV")), this.table);
    this.node = h("div", { class: "stack" }, card("Runs", this.list, this.tools, this.link, this.notes), this.curves, this.rows);
  }

  chart(title, format) {
    const chart = new Chart(title, format);
    chart.toggled = (name, show) => {
      const at = this.runs.findIndex((run) => name === run.label || name === `${run.label}, held-out`);
      if (at >= 0) this.hide(at, !show);
    };
    return chart;
  }

  put(name, value) {
    if (value) this.query.set(name, value);
    else this.query.delete(name);
    this.keep();
    this.tie();
  }

  tie() {
    fill(this.link, window.location.href, (address) => out(address, "Link to this view"));
  }

  get hidden() {
    return new Set((this.query.get("hide") || "").split(",").filter(Boolean).map(Number));
  }

  hide(at, off) {
    const hidden = this.hidden;
    if (off) hidden.add(at);
    else hidden.delete(at);
    this.put("hide", [...hidden].sort().join(","));
    this.draw();
  }

  drop(at) {
    const left = this.query.getAll("run").filter((_, index) => index !== at);
    const hidden = [...this.hidden].filter((one) => one !== at).map((one) => (one > at ? one - 1 : one));
    this.query.delete("run");
    left.forEach((key) => this.query.append("run", key));
    this.put("hide", hidden.join(","));
    this.ask();
  }

  update(data) {
    this.runs = data.runs.map((run) => ({ curves: {}, evaluations: {}, probes: {}, ...run }));
    this.data = data;
    this.tie();
    const key = JSON.stringify([data.runs, data.unlike, this.query.getAll("run")]);
    if (this.drawn !== key) this.draw();
    this.drawn = key;
    this.tabulate();
  }

  draw() {
    const { runs, hidden } = this;
    const name = AXES[this.query.get("x")] ? this.query.get("x") : "step";
    const held = this.list.contains(document.activeElement) ? document.activeElement.dataset.control : null;
    fill(this.list, [runs.map((run) => [run.label, run.state, run.preset, run.fault]), [...hidden]], () => runs.map((run, at) => h("li", {},
      h("button", { type: "button", class: "shown", "data-control": `hide-${at}`, "aria-pressed": String(!hidden.has(at)), title: "Show in the charts", on: { click: () => this.hide(at, !hidden.has(at)) } },
        h("span", { class: `swatch r${at + 1}`, "aria-hidden": "true" }), h("span", { dir: "auto" }, run.label)),
      run.found ? [badge(run.state), h("a", { href: addressOf("training", run) }, run.preset || "Training")] : h("span", { class: "faint" }, "not found"),
      run.fault ? h("span", { class: "note warning" }, `${run.fault.what}: ${run.fault.where || ""}`) : null,
      h("button", { type: "button", "data-control": `drop-${at}`, "aria-label": `Remove ${run.label}`, on: { click: () => this.drop(at) } }, "×"))));
    if (held) this.list.querySelector(`[data-control=${held}]`)?.focus();
    const axes = runs.map((run) => axisOf(run, name));
    const without = runs.filter((run, at) => run.found && !axes[at]).map((run) => run.label);
    fill(this.notes, [without, name, this.data.unlike], () => [
      without.length > 0 && h("p", { class: "note" }, `Not drawn, because ${
        { examples: "the batch size is not known", hours: "no speed was logged", dollars: "there is no TPU with a price" }[name]}: ${without.join(", ")}`),
      this.data.unlike.map((text) => h("p", { class: "note warning" }, text))]);
    const line = (run, at, curve, more) => (curve && axes[at] ? [{ colour: `--r${at + 1}`, off: hidden.has(at), dash: at > 3 ? [5, 3] : undefined, name: run.label,
      steps: curve.step.map(axes[at]), values: curve.value, ...more }] : []);
    const show = (chart, lines, points = []) => {
      Object.assign(chart, { x: AXES[name], log: { x: this.query.has("logx"), y: this.query.has("logy") } });
      chart.update(lines, points);
    };
    for (const [figure] of CHARTS) {
      const lines = runs.flatMap((run, at) => line(run, at, run.curves[figure]));
      const points = runs.flatMap((run, at) => line(run, at, run.evaluations[figure], { name: `${run.label}, held-out` }));
      show(this.charts[figure], [...(figure === "masked_lm_loss" ? this.levels(lines, axes) : []), ...lines], points);
    }
    const tasks = [...new Set(runs.flatMap((run) => Object.keys(run.probes)))];
    for (const task of tasks) {
      if (!this.tasks[task]) {
        this.tasks[task] = this.chart(`Probe of ${task}`, losses);
        this.curves.append(this.tasks[task].node);
      }
    }
    for (const [task, chart] of Object.entries(this.tasks)) show(chart, runs.flatMap((run, at) => line(run, at, run.probes[task], { dots: true })));
  }

  /** What word frequencies alone give, over all that is drawn: one line for runs with the same value. */
  levels(lines, axes) {
    const ends = lines.flatMap((one) => [one.steps[0], one.steps.at(-1)]).filter(isNumber);
    const known = this.runs.map((run, at) => [run, at]).filter(([run, at]) => isNumber(run.unigram) && axes[at]);
    if (!ends.length) return [];
    return [...new Set(known.map(([run]) => run.unigram))].map((value, _, values) => {
      const own = known.filter(([run]) => run.unigram === value);
      const whose = values.length > 1 ? ` (${own.map(([run]) => run.label).join(", ")})` : "";
      return { name: `word frequencies alone${whose}`, colour: values.length > 1 ? `--r${own[0][1] + 1}` : "--faint", dash: [2, 4], level: true, background: true,
        off: own.every(([, at]) => this.hidden.has(at)), steps: [Math.min(...ends), Math.max(...ends)], values: [value, value] };
    });
  }

  get shownRows() {
    return this.data.rows.filter((row) => this.query.has("all") || !row.same);
  }

  get columns() {
    return this.runs.map((run, at) => [run, at]).filter(([run]) => run.found);
  }

  tabulate() {
    const rows = this.shownRows;
    fill(this.table, [rows, this.columns.map(([run]) => run.label)], () => rows.length ? h("table", { class: "differences" }, h("caption", { class: "hidden" }, "Differences"),
      h("thead", {}, h("tr", {}, h("td", {}), this.columns.map(([run, at]) => h("th", { scope: "col", dir: "auto" }, h("span", { class: `swatch r${at + 1}`, "aria-hidden": "true" }), run.label)))),
      [...new Set(rows.map((row) => row.group))].map((group) => h("tbody", {}, h("tr", {}, h("th", { scope: "rowgroup", colspan: this.columns.length + 1, class: "group" }, group)),
        rows.filter((row) => row.group === group).map((row) => h("tr", { class: row.same ? "faint" : null }, h("th", { scope: "row", title: row.name }, row.title),
          apart(row.values, FORMATS[row.format]).map((text) => h("td", {}, h("bdi", {}, text))))))))
      : h("p", { class: "faint" }, "No differences."));
  }

  saveRows() {
    saveTable("differences", [["group", "name", "title", ...this.columns.map(([run]) => run.label)],
      ...this.shownRows.map((row) => [row.group, row.name, row.title, ...row.values])]);
  }
}

/** The runs in the address, each once. */
const chosen = (query) => [...new Set(query.getAll("run"))].slice(0, MOST_RUNS);

export const compare = {
  title: "Compare",
  alone: true,
  apart: true,
  address: ({ query }) => {
    const asked = new URLSearchParams(chosen(query).map((key) => ["run", key]));
    if (SMOOTHING.includes(query.get("smooth"))) asked.set("smoothing", query.get("smooth"));
    return asked.size ? `data/compare?${asked}` : null;
  },
  make: (context) => {
    if (!context.query.getAll("run").length) return { node: empty("No runs to compare", "Choose two to eight runs in the table of all runs.", h("a", { class: "button first", href: "#/runs" }, "Runs")), update() {} };
    const all = new Set(context.query.getAll("run")).size;
    const keys = chosen(context.query);
    context.query.delete("run");
    keys.forEach((key) => context.query.append("run", key));
    context.keep();
    const made = new Compare(context);
    if (all > MOST_RUNS) made.tools.before(h("p", { class: "note warning" }, `Only the first ${MOST_RUNS} of ${all} runs are compared.`));
    return { node: made.node, update: (data) => made.update(data) };
  },
};
