// The training: progress, the TPU, curves, and predictions for fixed sentences.
import { Chart } from "./charts.js";
import { badge, card, count, decimal, duration, empty, fill, h, isNumber, money, percent, progress, short, table, tiles, when } from "./dom.js";

const shares = (value) => percent(value, 1);
const rates = (value) => (value === 0 ? "0" : isNumber(value) ? value.toExponential(1) : "–");

export const training = {
  title: "Training",
  address: (run) => `data/training?${new URLSearchParams({ dag_id: run.dag_id, run_id: run.run_id })}`,
  make: () => new Training(),
};

class Training {
  constructor() {
    this.head = h("div");
    this.tpu = h("div");
    this.charts = {
      loss: new Chart("Loss", (value) => decimal(value, 2)),
      accuracy: new Chart("Accuracy", shares),
      rate: new Chart("Learning rate", rates),
      speed: new Chart("Examples per second", short),
    };
    this.marks = h("p", { class: "faint marks" });
    this.curves = h("div", { class: "two" }, Object.values(this.charts).map((chart) => chart.node));
    this.fill = h("div");
    this.evaluations = h("div");
    this.node = h("div", { class: "stack" }, this.head, this.tpu, this.curves, this.marks, this.fill, this.evaluations);
  }

  update(data) {
    fill(this.head, [data.progress, data.run, data.train_batch_size, data.reads, data.expected], () => data.progress ? this.headOf(data)
      : card(null, empty("The training has not started", "Curves appear here after its first steps.")));
    fill(this.tpu, data.tpu, (tpu) => tpu && this.tpuOf(tpu));
    fill(this.fill, data.fill_mask || [], (found) => found.length ? fillMask(found) : null);
    if (data.history) this.draw(data);
    fill(this.evaluations, data.evaluations || [], (made) => made.length ? evaluations(made) : null);
  }

  headOf({ progress: now, run, train_batch_size: batch, reads, expected }) {
    const share = now.step / now.train_steps;
    const left = run === "running" && isNumber(now.examples_per_second) && isNumber(batch) && now.examples_per_second > 0
      ? ((now.train_steps - now.step) * batch) / now.examples_per_second : null;
    const about = now.evaluation || {};
    return card(null,
      h("div", { class: "row spread" }, h("strong", {}, `${count(now.step)} of ${count(now.train_steps)} steps`),
        badge(now.state), h("span", { class: "faint" }, `as of ${when(now.updated_at)}`)),
      progress(share, "Steps of the training"),
      tiles([
        ["Loss", decimal(now.loss), now.first ? `${decimal(now.first.loss)} at first` : null],
        ["Masked-LM accuracy", percent(now.masked_lm_accuracy), "on training data"],
        isNumber(now.next_sentence_accuracy) ? ["Next-sentence accuracy", percent(now.next_sentence_accuracy), "on training data"] : null,
        ["Held-out loss", decimal(about.masked_lm_loss), isNumber(about.unigram_entropy) ? `word frequencies alone: ${decimal(about.unigram_entropy)}` : null],
        ["Examples per second", short(now.examples_per_second), now.device_kind || now.devices || null],
        expected ? expectedTile(expected) : null,
        reads ? ["Read by all steps", reads.epochs < 1 ? `${percent(reads.epochs)} of the dataset` : `${decimal(reads.epochs, 1)} epochs`, textOf(reads)] : null,
        left !== null && now.state !== "finished" ? ["Time left", duration(left)] : null,
      ]));
  }

  tpuOf(tpu) {
    return card("Cloud TPU",
      tiles([
        ["State", h("span", { class: "small" }, badge(tpu.state))],
        ["Type", h("span", { class: "small" }, tpu.accelerator_type), [tpu.provisioning, tpu.zone].filter(Boolean).join(", ")],
        ["Age", duration(tpu.age_seconds), `in use for ${duration(tpu.used_seconds)} in total`],
        tpu.emulated ? ["Cost to date", "none", "an emulator, not a TPU"]
          : ["Cost to date", money(tpu.cost), [isNumber(tpu.price) ? `estimated, ${money(tpu.price)} per hour` : "estimated",
            isNumber(tpu.budget) ? `of ${money(tpu.budget)}` : null].filter(Boolean).join(", ")],
        isNumber(tpu.cost_per_million) ? ["A million examples", money(tpu.cost_per_million)] : null,
        ["Preemptions", count(tpu.preemptions), `attempt ${count(tpu.attempt)}`],
      ]),
      tpu.goodput && tpu.goodput.paid ? goodputOf(tpu.goodput) : null,
      tpu.history.length ? h("details", {}, h("summary", {}, `Events (${tpu.history.length})`),
        h("ol", { class: "history" }, tpu.history.map((line) => h("li", {}, line)))) : null);
  }

  draw(data) {
    const { history: past, evaluations: made } = data;
    const line = (name, key, colour) => past[key] ? [{ name, colour, steps: past.step, values: past[key] }] : [];
    const points = (name, key, colour) => {
      const found = made.filter((one) => isNumber(one[key]));
      return found.length ? [{ name, colour, steps: found.map((one) => one.step), values: found.map((one) => one[key]) }] : [];
    };
    const marks = { checkpoints: data.checkpoints, interruptions: data.resumed };
    const { loss, accuracy, rate, speed } = this.charts;
    const references = (data.references || []).map((one) => ({ ...one, name: `like ${one.name}`, colour: "--reference", background: true }));
    loss.update([...references, ...line("loss", "loss", "--c1"), ...line("masked LM", "masked_lm_loss", "--c3")], points("held-out masked LM", "masked_lm_loss", "--c2"), marks);
    accuracy.update([...line("masked LM", "masked_lm_accuracy", "--c3"), ...line("next sentence", "next_sentence_accuracy", "--c4")],
      [...points("held-out masked LM", "masked_lm_accuracy", "--c2"), ...points("held-out next sentence", "next_sentence_accuracy", "--c1")], marks);
    rate.update(line("learning rate", "learning_rate", "--c1"), [], marks);
    speed.update(line("examples per second", "examples_per_second", "--c1"), [], marks);
    const steps = (numbers) => numbers.map(count).join(", ") || "none";
    fill(this.marks, [past.step.length, data.checkpoints, data.resumed], () => past.step.length ? [
      h("span", {}, h("span", { class: "mark checkpoint", "aria-hidden": "true" }, "▲"), ` checkpoints: ${steps(data.checkpoints)}`),
      h("span", {}, h("span", { class: "mark interruption", "aria-hidden": "true" }, "┊"), ` interruptions: ${steps(data.resumed)}`),
      h("span", {}, h("span", { class: "mark evaluation", "aria-hidden": "true" }, "○"), " evaluations on the held-out part")] : null);
  }
}

const PARTS = { steps: "steps of the training", redone: "steps that were redone", compiling: "compiling", waiting: "waiting for data",
  checkpoints: "checkpoints", evaluation: "evaluation", booting: "booting", starting: "starting the training, or not reported", deleting: "deleting" };

/** What the paid time goes to, as a bar and a table. */
function goodputOf({ paid, unpaid, parts, productive }) {
  const shown = Object.entries(PARTS).filter(([name]) => parts[name] > 0);
  return h("div", { class: "goodput" }, h("h3", {}, `Goodput ${percent(productive)}`),
    h("div", { class: "funnel-bar", "aria-hidden": "true" }, shown.map(([name]) => h("i", { class: `part ${name}`, width: parts[name] / paid, title: PARTS[name] }))),
    table("Goodput", ["Part of the paid time", "time", "share"], shown.map(([name, text]) => [
      h("span", {}, h("span", { class: `swatch part ${name}`, "aria-hidden": "true" }), text), duration(parts[name]), percent(parts[name] / paid)])),
    h("p", { class: "help" }, `Paid: ${duration(paid)}. Not paid: ${duration(unpaid)} of waiting for a TPU.`));
}

/** What the steps read: "128M of 1.4B examples, about 220M words, each text in 5 of them". */
const textOf = (reads) => [`${short(reads.examples)} of ${short(reads.dataset_examples)} examples`,
  isNumber(reads.words) ? `about ${short(reads.words)} words of the corpus` : null,
  reads.dupe_factor > 1 ? `each text in ${count(reads.dupe_factor)} examples` : null].filter(Boolean).join(", ");

/** The complete training by its first steps, once they are measured, beside the estimate. */
function expectedTile({ accelerator_type: type, examples_per_second: rates, hours, cost, measured, measured_hours: found }) {
  const estimate = `${ends(rates, short)} examples/s, ${ends(hours, hoursOf)}, ${ends(cost, money)} on ${type}`;
  return measured ? ["All steps, by the first", ends(found, hoursOf), `${short(measured)} examples/s; estimated ${estimate}`]
    : ["All steps, estimated", ends(hours, hoursOf), estimate];
}

const hoursOf = (hours) => duration(hours * 3600);
const ends = ([low, high], shown) => (shown(low) === shown(high) ? shown(low) : `${shown(low)} to ${shown(high)}`);

const evaluations = (made) => card(null, h("details", {}, h("summary", {}, `Evaluations (${made.length})`), table("Evaluations",
  ["Step", "Masked-LM loss", "Masked-LM accuracy", "Perplexity", "Next-sentence accuracy"],
  made.map((one) => [count(one.step), decimal(one.masked_lm_loss), percent(one.masked_lm_accuracy, 2), decimal(one.perplexity, 1),
    percent(one.next_sentence_accuracy, 2)]))));

/** The sentence with its [MASK] highlighted. */
function sentence(text) {
  const [before, ...after] = text.split("[MASK]");
  return h("p", { class: "arabic sentence", dir: "auto", lang: "ar" }, before, after.map((rest) => [h("mark", {}, h("bdi", {}, "[MASK]")), rest]));
}

function fillMask(found) {
  return card(`Fill-mask predictions at step ${count(found[0].step)}`, h("ul", { class: "gaps" }, found.map((example) => h("li", {},
    sentence(example.text),
    h("ol", { class: "guesses", dir: "rtl" }, example.words.map((one) => h("li", {},
      h("bdi", { class: "arabic" }, one.word), h("span", { class: "guess", "aria-hidden": "true" }, h("i", { width: one.probability })),
      h("span", { class: "faint", dir: "ltr" }, percent(one.probability))))),
    example.first ? h("p", { class: "faint" }, `At step ${count(example.first_step)}: `,
      h("bdi", { class: "arabic" }, example.first.map((one) => one.word).join("، "))) : null))));
}
