// The list of runs.
import { badge, between, bytes, count, decimal, duration, empty, fill, h, money, progress, short, when } from "./dom.js";

// The tasks of a run, in order.
const STEPS = [
  ["collect", ["preflight", "sources", "collect_source", "collect"]],
  ["vocabulary", ["vocab"]],
  ["shards", ["split", "shard.convert", "shard.upload", "dataset", "publish"]],
  ["training", ["prepare_tpu", "train", "delete_tpu"]],
  ["model", ["evaluate", "export", "promote", "finetunings", "finetune", "finetuning_table"]],
];
const AT_WORK = ["running", "deferred", "restarting", "queued", "scheduled", "up_for_retry", "up_for_reschedule"];

function stateOf(tasks, steps) {
  const counts = {};
  for (const task of tasks) {
    for (const [state, number] of Object.entries(steps[task] || {})) counts[state] = (counts[state] || 0) + number;
  }
  const total = Object.values(counts).reduce((sum, number) => sum + number, 0);
  if (!total) return "waiting";
  if (counts.failed) return "failed";
  if ((counts.success || 0) + (counts.skipped || 0) === total) return "done";
  return counts.success || AT_WORK.some((state) => counts[state]) ? "running" : "waiting";
}

const SIGNS = { done: "✓", failed: "×", running: "●", waiting: "○" };

const stepsOf = (run) => h("ol", { class: "way", "aria-label": "Steps" }, STEPS.map(([name, tasks]) => {
  const state = stateOf(tasks, run.steps);
  return h("li", { class: state }, h("span", { "aria-hidden": "true" }, SIGNS[state]), name, h("span", { class: "hidden" }, `: ${state}`));
}));

function trainingOf(run) {
  const training = run.training;
  if (!training) return h("span", { class: "faint" }, run.trouble ? "–" : "not started");
  return [
    h("span", {}, `${short(training.step)} of ${short(training.train_steps)} steps`),
    progress(training.step / training.train_steps, "Steps of the training"),
    h("span", { class: "faint" }, `loss ${decimal(training.loss)}`),
  ];
}

function line(run, addressOf) {
  const data = run.data;
  return h("li", { class: "card run" },
    h("div", { class: "run-head" },
      badge(run.state),
      h("a", { class: "run-name", href: addressOf(run.training ? "training" : "shards", run) }, run.run_id),
      h("span", { class: "faint" }, `${run.preset || run.dag_id} · ${when(run.started)} · ${duration(between(run.started, run.ended))}`),
      run.dag_id === "qarib_pretrain" ? h("a", { href: `${addressOf("new", run)}&again=1` }, "Run again with these values") : null),
    stepsOf(run),
    run.fault ? h("p", { class: "note warning" }, `${run.fault.what}: ${run.fault.where || ""}. ${run.fault.do || ""}`) : null,
    h("dl", { class: "run-figures" },
      h("div", {}, h("dt", {}, "Corpus"), h("dd", {}, data.lines ? `${short(data.lines)} lines, ${bytes(data.bytes)}` : "–",
        (data.warnings || []).map((text) => h("span", { class: "note warning" }, text)))),
      h("div", {}, h("dt", {}, "Dataset"), h("dd", {}, data.dataset_shards
        ? `${count(data.dataset_shards)} shards, ${short(data.dataset_examples)} examples, ${bytes(data.dataset_bytes)}` : "–")),
      h("div", {}, h("dt", {}, "Training"), h("dd", { class: "training-cell" }, trainingOf(run))),
      h("div", {}, h("dt", {}, "Cost to date"), h("dd", {}, run.tpu ? money(run.tpu.cost) : run.trouble ? "–" : "no TPU"))));
}

export const runs = {
  title: "Runs",
  alone: true,
  address: (_, { offset }) => `data/runs?offset=${offset}`,
  make({ addressOf, offset }) {
    const list = h("ol", { class: "stack runs" });
    const pages = h("div", { class: "row" });
    return {
      node: h("div", { class: "stack" }, list, pages),
      update(data) {
        const from = (first) => `#/runs?offset=${first}`;
        fill(pages, [offset, data.more], () => [
          offset ? h("a", { class: "button", href: from(Math.max(0, offset - data.runs_a_page)) }, "Newer runs") : null,
          data.more ? h("a", { class: "button", href: from(offset + data.runs_a_page) }, "Older runs") : null,
        ]);
        fill(list, data.runs, (found) => found.length
          ? found.map((run) => line(run, addressOf))
          : h("li", {}, offset ? empty("No older runs", "The newest runs are on the first page.") : empty("No runs yet", "Start one. The preset “demo” takes a few minutes.",
            h("a", { class: "button first", href: "#/new" }, "New run"))));
      },
    };
  },
};
