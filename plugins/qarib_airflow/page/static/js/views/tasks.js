// How good the model is on labelled tasks: scores, curves, confusion matrices, and what the previous model got wrong.
import { Chart } from "../parts/charts.js";
import { against, card, count, counted, decimal, empty, faultOf, fill, h, isNumber, out, percent, table } from "../parts/dom.js";
import { nothingOf, partOf } from "../parts/way.js";

/** A label in its own direction, whatever the text around it. */
const labelOf = (text) => h("bdi", { class: "label", dir: "auto" }, text);

/** A row for each label, a column for each predicted one. Shades are shares of the row. */
function confusion(caption, labels, counts) {
  const sums = counts.map((row) => row.reduce((sum, number) => sum + number, 0));
  const cell = (number, row, column) => {
    const share = sums[row] ? number / sums[row] : 0;
    const what = row === column ? "predicted rightly" : `predicted as ${labels[column]}`;
    return h("td", { class: row === column ? "count right" : "count", width: share,
      title: `${labels[row]}, ${what}: ${count(number)} of ${count(sums[row])} (${percent(share)})` }, h("span", {}, count(number)));
  };
  return h("div", { class: "matrix", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "label ↓ predicted →"),
        labels.map((label) => h("th", { scope: "col", title: label }, labelOf(label))), h("th", { scope: "col" }, "right"))),
      h("tbody", {}, counts.map((row, index) => h("tr", {}, h("th", { scope: "row" }, labelOf(labels[index])),
        row.map((number, column) => cell(number, index, column)),
        h("td", {}, h("span", {}, sums[index] ? percent(row[index] / sums[index], 0) : "–")))))));
}

const score = (value, more = 0) => decimal(value, 3 + more);
const newest = (probe) => Object.fromEntries(Object.entries(probe).map(([key, values]) => [key, values.at(-1)]));
const noted = (text, note) => [text, note ? h("span", { class: "cell-note" }, note) : null];
const interval = (low, high) => (isNumber(low) && isNumber(high) ? `${score(low)} to ${score(high)}` : null);
const used = (number, all) => (isNumber(all) && all !== number ? `${count(number)} of ${count(all)}` : count(number));
const part = (title, ...children) => h("section", { class: "card" }, h("h3", {}, title), children);
const faint = (...text) => h("p", { class: "faint note" }, text);

/** The cells on the previous model: its score, and how this one's differs, beyond chance or not. */
function compared(own, former, text, chance) {
  if (!isNumber(own) || !isNumber(former)) return [text, ""];
  const difference = against(own, former, score)[2];
  if (!difference) return [text, "no change"];
  const name = chance ? "faint" : own > former ? "better" : "worse";
  return [text, noted(h("span", { class: name }, `${own > former ? "▲" : "▼"} ${difference}`), chance)];
}

const absent = (former) => h("span", { class: "faint" }, former ? "scored on other texts" : "not scored");

const baselines = (own) => [noted(score(own.tfidf), interval(own.tfidf_low, own.tfidf_high)), score(own.most_frequent)];

function probeRow(task, former) {
  const own = newest(task.probe);
  const [mine, theirs] = against(own.value, task.former_probe?.value, score);
  const row = [labelOf(task.name), task.metric, noted(mine, interval(own.low, own.high))];
  if (former) {
    const before = task.former_probe;
    const other = before?.same_texts && (before.train_texts !== own.train_texts || before.test_texts !== own.test_texts)
      ? `${count(before.train_texts)} training, ${count(before.test_texts)} test texts` : null;
    const inside = before && before.value >= own.low && before.value <= own.high ? "within the interval" : null;
    row.push(...before?.same_texts ? compared(own.value, before.value, noted(theirs, other || interval(before.low, before.high)), inside)
      : [absent(before), ""]);
  }
  return [...row, ...baselines(own),
    used(own.train_texts, own.all_train_texts), used(own.test_texts, own.all_test_texts)];
}

function tunedRow(task, former) {
  const own = task.tuned;
  const [mine, theirs] = against(own.mean, task.former_tuned?.mean, score);
  const row = [labelOf(task.name), task.metric, noted(spread(own, mine), seedsOf(own))];
  if (former) {
    const before = task.former_tuned;
    const inside = before && Math.abs(own.mean - before.mean) <= own.sd ? "within one sd" : null;
    row.push(...before?.same_texts ? compared(own.mean, before.mean, spread(before, theirs), inside) : [absent(before), ""]);
  }
  return [...row, ...baselines(own), count(own.test_texts)];
}

const previousOf = (former) => (former ? ["Previous model: ", h("code", {}, former), "."] : "There is no previous model to compare with.");
const documents = (number) => counted(number, "document");
const spread = (result, mean) => (isNumber(result.mean) ? `${mean}${isNumber(result.sd) ? ` ± ${score(result.sd)}` : ""}` : "–");
const missing = (result) => `${result.missing.length === 1 ? "seed" : "seeds"} ${result.missing.join(", ")}`;

function seedsOf(result) {
  const made = counted(result.seeds.length, "seed");
  return result.missing.length ? `${made}, missing: ${missing(result)}` : made;
}

const scores = (caption, former, texts, rows) => table(caption, ["Task", "Metric", "This model", ...(former ? ["Previous model", "Change"] : []),
  "TF-IDF", "Most frequent label", ...texts], rows, { class: "scores" });

function probes(tasks, former) {
  return card("Probe at the last evaluation",
    scores("Probe", former, ["Training texts", "Test texts"], tasks.map((task) => probeRow(task, former))),
    faint("A logistic regression on the model's frozen vectors, with a 95% interval over the test texts. TF-IDF is the same regression on n-grams of characters. ", previousOf(former)));
}

function tunings(tasks, former) {
  return card("Fine-tuning",
    scores("Fine-tuning", former, ["Test texts"], tasks.map((task) => tunedRow(task, former))),
    faint("Mean and standard deviation over the seeds. ", previousOf(former)),
    h("details", {}, h("summary", {}, "Values of each seed"), tasks.map((task) => [
      h("h3", {}, labelOf(task.name)),
      task.tuned.seeds.length ? table(`Seeds of ${task.name}`, ["Seed", "Learning rate", task.metric, "95% interval"], task.tuned.seeds.map((one) =>
        [count(one.seed), isNumber(one.rate) ? one.rate.toExponential(1) : "–", score(one.value), interval(one.low, one.high) || "–"])) : null,
      task.tuned.missing.length ? faint(`Missing: ${missing(task.tuned)}.`) : null])));
}

/** One task: its curve, its confusion matrix, and the texts that changed. */
class Task {
  constructor(task) {
    this.metric = task.metric;
    this.chart = new Chart(`Probe: ${task.metric}`, score, { heading: "h3", axis: task.metric });
    this.note = h("div");
    this.values = h("div");
    this.chart.node.append(this.note, this.values);
    this.matrix = h("div");
    this.parts = h("div", { class: "two" }, this.chart.node, this.matrix);
    this.changed = h("div");
    this.node = h("section", { class: "task", "aria-label": task.name }, h("h2", {}, labelOf(task.name)),
      task.about ? h("p", { class: "faint" }, task.about) : null, this.parts, this.changed);
  }

  update(task, former, steps) {
    const { probe } = task;
    this.chart.update(probe ? curves(probe, steps) : []);
    fill(this.note, [probe, task.on_other_texts], () => probe ? noteOf(newest(probe), task.on_other_texts) : null);
    fill(this.values, probe, () => probe ? valuesOf(task) : null);
    fill(this.matrix, [task.labels, task.confusion, task.confusion_of, task.label_count], () => matrixOf(task));
    this.matrix.className = task.labels.length > 8 ? "wide" : "";
    this.matrix.hidden = !this.matrix.childElementCount;
    fill(this.changed, [task.changed, former], () => changedOf(task.changed, former));
  }
}

/** The probe at each evaluation. The baselines need no training: they are as wide as it. */
function curves(probe, trainSteps) {
  const first = probe.step[0] > 0 ? [0] : [];
  const last = probe.step.at(-1) < trainSteps ? [trainSteps] : [];
  const wide = (values) => [...first.map(() => values[0]), ...values, ...last.map(() => values.at(-1))];
  const ends = (low, high, of = (values) => values) => (probe[low] && probe[high] ? { low: of(probe[low]), high: of(probe[high]) } : {});
  const level = (name, key, colour, more) => probe[key]
    ? [{ name, colour, steps: [...first, ...probe.step, ...last], values: wide(probe[key]), level: true, ...more }] : [];
  return [
    { name: "probe", colour: "--c1", steps: probe.step, values: probe.value, ...ends("low", "high"), bars: true, dots: true },
    ...level("TF-IDF", "tfidf", "--c2", ends("tfidf_low", "tfidf_high", wide)),
    ...level("most frequent label", "most_frequent", "--c4", { dash: [6, 4] }),
  ];
}

function noteOf(own, others) {
  const cut = own.train_texts !== own.all_train_texts || own.test_texts !== own.all_test_texts;
  return [
    faint(`${used(own.train_texts, own.all_train_texts)} training texts, ${used(own.test_texts, own.all_test_texts)} test texts`,
      cut ? ", to stay within evaluate.probe_seconds." : "."),
    own.contaminated_documents ? h("p", { class: "note warning" }, `In the training text: ${documents(own.contaminated_documents)} with test texts.`) : null,
    own.left_out_documents ? faint(`Left out of the training text: ${documents(own.left_out_documents)} with test texts.`) : null,
    others ? faint(`Not shown: ${counted(others, "earlier evaluation")} on other texts.`) : null,
  ];
}

function valuesOf({ name, metric, probe }) {
  const at = (key, index) => (probe[key] ? probe[key][index] : null);
  return h("details", {}, h("summary", {}, `Values (${count(probe.step.length)})`), table(`Probe of ${name} by step`,
    ["Step", metric, "95% interval", "TF-IDF", "95% interval", "Most frequent label", "Training texts", "Test texts"],
    probe.step.map((step, index) => [count(step), score(at("value", index)), interval(at("low", index), at("high", index)) || "–",
      score(at("tfidf", index)), interval(at("tfidf_low", index), at("tfidf_high", index)) || "–", score(at("most_frequent", index)),
      count(at("train_texts", index)), count(at("test_texts", index))])));
}

function matrixOf(task) {
  const seeds = task.tuned?.seeds.length;
  const of = isNumber(task.confusion_of) ? `evaluation at step ${count(task.confusion_of)}`
    : seeds > 1 ? `fine-tuning, ${count(seeds)} seeds together` : "fine-tuning";
  if (task.confusion) return part(`Confusion matrix: ${of}`, confusion(`Confusion matrix of ${task.name}, ${of}`, task.labels, task.confusion));
  return task.label_count > 50 ? part("Confusion matrix", faint(`Not shown for ${count(task.label_count)} labels.`)) : null;
}

function changedOf(changed, former) {
  if (!former) return null;
  const title = "From wrong to right";
  if (changed.fault) return part(title, faultOf(changed.fault));
  if (changed.reason) return part(title, faint(changed.reason));
  const of = changed.seed === null ? "by their probes" : `fine-tuned with seed ${changed.seed}`;
  return part(title,
    faint(`Of ${count(changed.compared)} test texts, ${count(changed.right)} changed from wrong to right since `, h("code", {}, former),
      ` and ${count(changed.wrong)} from right to wrong, ${of}.`, changed.right > changed.texts.length ? ` The first ${changed.texts.length}:` : ""),
    h("ul", { class: "changed" }, changed.texts.map((one) => h("li", {},
      h("p", { class: "arabic", dir: "auto", lang: "ar" }, one.text),
      h("p", { class: "faint" }, "label: ", labelOf(one.label), "; predicted before: ", labelOf(one.before))))));
}

function nothing(data, run) {
  // Without a model, the run's settings are not known.
  if ((data.expected || !data.model_id) && !data.evaluated) {
    if (["failed", "not reached", "skipped"].includes(partOf(run, "training")?.state)) return nothingOf(run, "training");
    return ["running", "queued"].includes(data.run)
      ? empty("No evaluation yet", "Each evaluation scores the model on its labelled tasks. Curves appear here after the first one.")
      : empty("Not evaluated", "The run ended before its first evaluation.");
  }
  return empty("No labelled tasks", "To see what the model is good for, name files of texts with labels in the setting Labelled tasks (evaluate.tasks).",
    out(data.documentation, "Documentation of labelled tasks", { class: "button", target: "_blank", rel: "noopener" }));
}

export const tasks = {
  title: "Tasks",
  make: () => new Tasks(),
};

class Tasks {
  constructor() {
    this.faults = h("div");
    this.nothing = h("div");
    this.tuned = h("div");
    this.probed = h("div");
    this.list = h("div", { class: "stack" });
    this.shown = new Map();
    this.node = h("div", { class: "stack" }, this.faults, this.nothing, this.tuned, this.probed, this.list);
  }

  update(data, run) {
    const { tasks: found, former } = data;
    fill(this.faults, data.faults, (faults) => faults.map((fault) => faultOf(fault)));
    fill(this.nothing, [found.length, data.expected, data.evaluated, data.model_id, data.run, run.way], () => found.length ? null : card(null, nothing(data, run)));
    const [tuned, probed] = ["tuned", "probe"].map((key) => found.filter((task) => task[key]));
    const key = (some) => [former, some.map(({ changed, confusion: _, ...rest }) => rest)];
    fill(this.tuned, key(tuned), () => tuned.length ? tunings(tuned, former) : null);
    fill(this.probed, key(probed), () => probed.length ? probes(probed, former) : null);
    const before = this.shown;
    this.shown = new Map(found.map((task) => {
      const known = before.get(task.name);
      return [task.name, known && known.metric === task.metric ? known : new Task(task)];
    }));
    const nodes = [...this.shown.values()].map((one) => one.node);
    if (nodes.some((node, index) => node !== this.list.children[index]) || nodes.length !== this.list.childElementCount) this.list.replaceChildren(...nodes);
    for (const task of found) this.shown.get(task.name).update(task, former, data.train_steps);
  }
}
