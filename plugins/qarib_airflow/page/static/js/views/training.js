// The training: progress, the TPU, curves, predictions for fixed sentences, the end of the log, and the request to stop.
import { ask, explained } from "../parts/ask.js";
import { Chart } from "../parts/charts.js";
import { apart, badge, card, count, decimal, duration, fill, h, isNumber, money, percent, progress, runQuery, short, table, tiles, when } from "../parts/dom.js";
import { hasEnded, nothingOf } from "../parts/way.js";

export const shares = (value, more = 0) => percent(value, 1 + more);
export const rates = (value, more = 0) => (value === 0 ? "0" : isNumber(value) ? value.toExponential(1 + more) : "–");
export const losses = (value, more = 0) => decimal(value, 3 + more);

export const training = {
  title: "Training",
  make: () => new Training(),
};

class Training {
  constructor() {
    this.head = h("div");
    this.tpu = h("div");
    this.charts = {
      loss: new Chart("Masked-LM loss", losses),
      accuracy: new Chart("Masked-LM accuracy", shares),
      sentence: new Chart("Next-sentence loss", losses),
      sentences: new Chart("Next-sentence accuracy", shares),
      rate: new Chart("Learning rate", rates),
      speed: new Chart("Examples per second", short),
    };
    this.marks = h("p", { class: "faint marks" });
    this.curves = h("div", { class: "two" }, Object.values(this.charts).map((chart) => chart.node));
    this.fill = h("div");
    this.evaluations = h("div");
    this.stop = new Stop();
    this.log = new TrainingLog();
    this.node = h("div", { class: "stack" }, this.head, this.stop.node, this.tpu, this.log.node, this.curves, this.marks, this.fill, this.evaluations);
  }

  update(data, run) {
    fill(this.head, [run.way, data.trouble, data.progress, data.run, data.train_batch_size, data.reads, data.expected], () => [
      data.progress ? this.headOf(data)
        : card(null, nothingOf(run, "training", ["The training has not started", "Curves appear here after its first steps."], data.trouble))]);
    this.stop.update(run, data.may_stop, data.stop_asked_by);
    this.log.update(run);
    this.log.node.hidden = !data.progress && !data.tpu;
    fill(this.tpu, [data.tpu, data.expected, data.run], () => data.tpu && this.tpuOf(data));
    fill(this.fill, data.fill_mask || [], (found) => found.length ? fillMask(found) : null);
    if (data.history) this.draw(data);
    fill(this.evaluations, data.evaluations || [], (made) => made.length ? evaluations(made) : null);
  }

  headOf({ progress: now, run, train_batch_size: batch, reads, expected }) {
    const share = now.step / now.train_steps;
    const left = run === "running" && isNumber(now.examples_per_second) && isNumber(batch) && now.examples_per_second > 0
      ? ((now.train_steps - now.step) * batch) / now.examples_per_second : null;
    const about = now.evaluation || {};
    const [held, alone] = [about.masked_lm_loss, about.unigram_entropy];
    const worse = isNumber(held) && isNumber(alone) && held >= alone;
    const [own, base] = apart([held, alone], losses);
    return card(null,
      h("div", { class: "row spread" }, h("strong", {}, `${count(now.step)} of ${count(now.train_steps)} steps`),
        badge(now.state), h("span", { class: "faint" }, `${now.state === "not finished" ? "last report at" : "as of"} ${when(now.updated_at)}`)),
      progress(share, "Steps of the training"),
      tiles([
        ["Masked-LM loss", decimal(now.masked_lm_loss), ["on training data", now.first ? `${decimal(now.first.masked_lm_loss)} at first` : null,
          isNumber(now.next_sentence_accuracy) ? `with the next sentence ${decimal(now.loss)}` : null].filter(Boolean).join(", ")],
        ["Held-out masked-LM loss", h("span", { class: worse ? "worse" : null }, own), isNumber(alone)
          ? `${worse ? "not better than" : "without context"}: ${base}${worse ? ", which word frequencies alone give" : ""}` : null],
        ["Masked-LM accuracy", percent(now.masked_lm_accuracy), "on training data"],
        isNumber(now.next_sentence_accuracy) ? ["Next-sentence accuracy", percent(now.next_sentence_accuracy), "on training data"] : null,
        ["Examples per second", short(now.examples_per_second), now.device_kind || now.devices || null],
        waitingTile(now.seconds),
        expected ? expectedTile(expected) : null,
        reads ? ["Read by all steps", reads.epochs < 1 ? `${percent(reads.epochs)} of the dataset` : `${decimal(reads.epochs, 1)} epochs`, textOf(reads)] : null,
        left !== null && now.state === "training" ? ["Time left", duration(left)] : null,
      ]));
  }

  tpuOf({ tpu, expected, run }) {
    return card("Cloud TPU",
      tiles([
        ["State", h("span", { class: "small" }, badge(tpu.state)), stateNote(tpu)],
        ["Type", h("span", { class: "small" }, tpu.accelerator_type), [tpu.provisioning, tpu.zone].filter(Boolean).join(", ")],
        isNumber(tpu.age_seconds) ? ["Age", duration(tpu.age_seconds), `in use for ${duration(tpu.used_seconds)} in total`]
          : ["In use", duration(tpu.used_seconds), "in total"],
        tpu.emulated ? ["Cost to date", "none", "an emulator, not a TPU"]
          : ["Cost to date", money(tpu.cost), [isNumber(tpu.price) ? `estimated, ${money(tpu.price)} per hour` : "estimated",
            isNumber(tpu.budget) ? `of ${money(tpu.budget)}` : null].filter(Boolean).join(", ")],
        !tpu.emulated && expected && run === "running" ? ["Cost ahead", ends(expected.cost_ahead, money),
          isNumber(expected.measured) ? "by the first steps" : "by the estimate"] : null,
        isNumber(tpu.cost_per_million) ? ["Cost of a million examples", money(tpu.cost_per_million)] : null,
        ["Preemptions", count(tpu.preemptions), `attempt ${count(tpu.attempt)}`],
      ]),
      tpu.goodput && tpu.goodput.paid ? goodputOf(tpu.goodput) : null,
      tpu.history.length ? h("details", {}, h("summary", {}, `Events (${tpu.history.length})`),
        h("ol", { class: "history" }, tpu.history.map((line) => h("li", {}, line)))) : null);
  }

  draw(data) {
    const { history: past, evaluations: made } = data;
    const line = (name, key, colour) => past[key] ? [{ name, colour, steps: past[key].step, values: past[key].value }] : [];
    const points = (name, key, colour) => {
      const found = made.filter((one) => isNumber(one[key]));
      return found.length ? [{ name, colour, steps: found.map((one) => one.step), values: found.map((one) => one[key]) }] : [];
    };
    const marks = { checkpoints: data.checkpoints, interruptions: data.resumed };
    const { loss, accuracy, sentence, sentences, rate, speed } = this.charts;
    const references = (data.references || []).map((one) => ({ ...one, name: `like ${one.name}`, colour: "--reference", background: true }));
    loss.update([...references, ...baseline(made, past.masked_lm_loss?.step || []), ...line("training", "masked_lm_loss", "--c1")], points("held-out", "masked_lm_loss", "--c2"), marks);
    accuracy.update(line("training", "masked_lm_accuracy", "--c1"), points("held-out", "masked_lm_accuracy", "--c2"), marks);
    sentence.update(line("training", "next_sentence_loss", "--c1"), points("held-out", "next_sentence_loss", "--c2"), marks);
    sentences.update(line("training", "next_sentence_accuracy", "--c1"), points("held-out", "next_sentence_accuracy", "--c2"), marks);
    rate.update(line("learning rate", "learning_rate", "--c1"), [], marks);
    speed.update(line("examples per second", "examples_per_second", "--c1"), [], marks);
    const steps = (numbers) => numbers.map((step) => count(step)).join(", ") || "none";
    fill(this.marks, [past.loss !== undefined, data.checkpoints, data.resumed], (some) => some[0] ? [
      h("span", {}, h("span", { class: "mark checkpoint", "aria-hidden": "true" }, "▲"), ` checkpoints: ${steps(data.checkpoints)}`),
      h("span", {}, h("span", { class: "mark interruption", "aria-hidden": "true" }, "┊"), ` interruptions: ${steps(data.resumed)}`),
      h("span", {}, h("span", { class: "mark evaluation", "aria-hidden": "true" }, "○"), " evaluations on the held-out part")] : null);
  }
}

/** "at 12:03" for a TPU that is deleted; for others, the time of the service's last answer, and the phase of the run. */
function stateNote({ state, phase, at }) {
  if (state === "deleted") return `at ${when(at)}`;
  return state === phase ? `since ${when(at)}` : `as of ${when(at)}, in the phase ${phase}`;
}

/** What word frequencies alone give, as a level over all steps. */
function baseline(made, steps) {
  const found = made.findLast((one) => isNumber(one.unigram_entropy));
  const ends = steps.length ? [steps[0], steps.at(-1)] : [];
  return found && ends.length ? [{ name: "word frequencies alone", colour: "--faint", dash: [6, 4], level: true, background: true, steps: ends, values: [found.unigram_entropy, found.unigram_entropy] }] : [];
}

/** What the paid time goes to, as a bar and a table. */
function goodputOf({ paid, unpaid, parts, productive, titles }) {
  const shown = Object.entries(titles).filter(([name]) => parts[name] > 0);
  return h("div", { class: "goodput" }, h("h3", {}, `Goodput ${percent(productive)}`),
    h("div", { class: "funnel-bar", "aria-hidden": "true" }, shown.map(([name]) => h("i", { class: `part ${name}`, width: parts[name] / paid, title: titles[name] }))),
    table("Goodput", ["Part of the paid time", "time", "share"], shown.map(([name, text]) => [
      h("span", {}, h("span", { class: `swatch part ${name}`, "aria-hidden": "true" }), text), duration(parts[name]), percent(parts[name] / paid)])),
    h("p", { class: "help" }, `Paid: ${duration(paid)}. Not paid: ${duration(unpaid)} of waiting for a TPU.`));
}

/** The share of the training's own time in which the device waits for data. */
function waitingTile(seconds) {
  const total = ["steps", "waiting"].reduce((sum, name) => sum + (seconds?.[name] || 0), 0);
  return total > 0 ? ["Waiting for data", percent(seconds.waiting / total), "of the time of the steps"] : null;
}

/** What the steps read: "128M of 1.4B examples, about 220M words, each text in 5 of them", or "24K examples, 14K different ones, …". */
const textOf = (reads) => [reads.epochs < 1 ? `${apart([reads.examples, reads.dataset_examples], short).join(" of ")} examples`
  : `${short(reads.examples)} examples, ${short(reads.dataset_examples)} different ones`,
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

const SECONDS = 3; // between two readings of the log

/** The last lines, read while it is unfolded. */
class TrainingLog {
  constructor() {
    this.lines = h("pre", { class: "log", tabindex: "0", role: "log", "aria-label": "Log of the training", "aria-live": "off" });
    this.where = h("p", { class: "help" });
    this.details = h("details", { on: { toggle: () => this.read() } }, h("summary", {}, "Log"), this.where, this.lines);
    this.node = h("section", { class: "card" }, this.details);
  }

  /** A run that is repeated has a log that grows again. */
  update(run) {
    const again = this.run && hasEnded(this.run) && !hasEnded(run);
    this.run = run;
    if (again) this.read();
  }

  async read() {
    clearTimeout(this.timer);
    if (!this.details.open || !this.node.isConnected || !this.run) return;
    const { run } = this;
    try {
      const found = await ask(`data/log?${runQuery(run)}`);
      const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 30;
      fill(this.lines, found.lines, (lines) => lines.join("\n"));
      fill(this.where, [found.where, found.trouble, hasEnded(this.run)], () => found.where ? ["The end of ", h("code", {}, found.where)] : found.trouble?.what || (hasEnded(this.run) ? "There is no log." : "There is no log yet."));
      if (atEnd) this.lines.scrollTop = this.lines.scrollHeight; // One who has scrolled up reads on.
    } catch (error) {
      fill(this.where, error.message, (text) => text);
    }
    if (!hasEnded(run)) this.timer = setTimeout(() => this.read(), SECONDS * 1000);
  }
}

/** Asks for confirmation first. The server checks the user's permission. */
class Stop {
  constructor() {
    this.status = h("p", { role: "status" });
    this.button = h("button", { type: "button", on: { click: () => this.ask(this.question.hidden) } }, "Stop and save …");
    this.sure = h("button", { type: "button", class: "first", on: { click: () => this.send() } }, "Save and stop");
    this.question = h("div", { class: "confirmation", hidden: true },
      h("p", {}, "The training saves a checkpoint and ends, and its task fails with your name as the reason. A TPU is deleted. To continue, clear the task ", h("code", {}, "train"), " in Airflow."),
      h("div", { class: "row" }, this.sure, h("button", { type: "button", on: { click: () => this.ask(false) } }, "Keep training")));
    this.node = h("div", { class: "stop", hidden: true }, this.button, this.question, this.status);
  }

  ask(open) {
    this.question.hidden = !open;
    (open ? this.sure : this.button).focus();
  }

  /** `by` is who has asked the training before, maybe in another window. */
  update(run, allowed, by) {
    this.run = run;
    if (!allowed && !this.node.hidden) { // The training has ended, and what was asked of it with it.
      this.asked = false;
      this.question.hidden = true;
      this.status.replaceChildren();
    }
    if (allowed && by && !this.asked) this.have(`${by} has asked the training to stop: it saves its state at the next step. This can take a minute.`);
    this.node.hidden = !allowed;
    this.button.hidden = !allowed || Boolean(this.asked);
  }

  have(text) {
    this.asked = true;
    this.question.hidden = this.button.hidden = true;
    this.status.replaceChildren(text);
  }

  async send() {
    this.sure.disabled = true;
    try {
      await ask(`data/stop?${runQuery(this.run)}`, {});
      this.have("Asked. The training saves its state at the next step and stops; this can take a minute.");
    } catch (error) {
      this.status.replaceChildren(...explained("Not asked", error));
    }
    this.sure.disabled = false;
  }
}
