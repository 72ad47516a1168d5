// The end of a training's log, and the request to stop it.
import { fill, h } from "../parts/dom.js";

const SECONDS = 3;

async function answered(response) {
  const values = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error([values.what || `the server answered ${response.status}`, values.do].filter(Boolean).join(". "));
  return values;
}

/** The last lines, read while it is unfolded. */
export class TrainingLog {
  constructor() {
    this.lines = h("pre", { class: "log", tabindex: "0", role: "log", "aria-label": "Log of the training", "aria-live": "off" });
    this.where = h("p", { class: "help" });
    this.details = h("details", { on: { toggle: () => this.read() } }, h("summary", {}, "Log"), this.where, this.lines);
    this.node = h("section", { class: "card" }, this.details);
  }

  update(run) {
    this.run = run;
  }

  async read() {
    clearTimeout(this.timer);
    if (!this.details.open || !this.node.isConnected || !this.run) return;
    const { dag_id, run_id, state } = this.run;
    try {
      const found = await answered(await fetch(`data/log?${new URLSearchParams({ dag_id, run_id })}`, { credentials: "same-origin" }));
      const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 30;
      fill(this.lines, found.lines, (lines) => lines.join("\n"));
      fill(this.where, [found.where, found.trouble], () => found.where ? ["The end of ", h("code", {}, found.where)] : found.trouble?.what || "There is no log yet.");
      if (atEnd) this.lines.scrollTop = this.lines.scrollHeight; // One who has scrolled up reads on.
    } catch (error) {
      fill(this.where, error.message, (text) => text);
    }
    if (state === "running" || state === "queued") this.timer = setTimeout(() => this.read(), SECONDS * 1000);
  }
}

/** Asks for confirmation first. The server checks the user's permission. */
export class Stop {
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

  update(run, allowed) {
    this.run = run;
    this.node.hidden = !allowed && !this.asked;
    this.button.hidden = !allowed || Boolean(this.asked);
  }

  async send() {
    this.sure.disabled = true;
    try {
      const { dag_id, run_id } = this.run;
      await answered(await fetch(`data/stop?${new URLSearchParams({ dag_id, run_id })}`, {
        method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: "{}" }));
      this.asked = true;
      this.question.hidden = this.button.hidden = true;
      this.status.replaceChildren("Asked. The training saves its state at the next step and stops; this can take a minute.");
    } catch (error) {
      this.status.replaceChildren(`Not asked: ${error.message}`);
    }
    this.sure.disabled = false;
  }
}
