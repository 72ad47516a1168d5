// A sentence with [MASK], and the words that this and the previous model put there.
import { card, count, fill, h, percent } from "../parts/dom.js";

const SHOWN = 5; // words for each [MASK]
const EXAMPLE = "السلام عليكم ورحمة [MASK] وبركاته";
const PUNCTUATION = /^\p{P}+$/u;

const words = (guesses) => h("ol", { class: "guesses", dir: "rtl" }, guesses.map(([word, share]) => h("li", {},
  h("bdi", { class: "arabic" }, word), h("span", { class: "guess", "aria-hidden": "true" }, h("i", { width: share })), h("span", { class: "faint", dir: "ltr" }, percent(share)))));

/** Sends a sentence when one asks for it. The answer stays while the view is refreshed. */
export class Try {
  constructor() {
    this.sentence = h("input", { type: "text", id: "try-sentence", dir: "auto", lang: "ar", maxlength: 500, required: true, autocomplete: "off" });
    this.sentence.value = EXAMPLE;
    this.button = h("button", { type: "submit", class: "first" }, "Fill in");
    this.all = h("input", { type: "checkbox", on: { change: () => this.draw() } });
    this.status = h("p", { role: "status", class: "faint" });
    this.results = h("div", { class: "two" });
    const form = h("form", { class: "stack", on: { submit: (event) => { event.preventDefault(); this.ask(); } } },
      h("div", { class: "field" }, h("label", { for: "try-sentence" }, "A sentence with [MASK]"), this.sentence),
      h("div", { class: "row" }, this.button, h("button", { type: "button", on: { click: () => this.insert() } }, "Insert [MASK]"), h("label", {}, this.all, " Punctuation too")));
    this.node = card("Try it", form, this.status, this.results);
    this.node.hidden = true;
  }

  update(run, data) {
    this.run = run;
    this.node.hidden = !data.may_try || !data.state; // A model that is not exported has nothing to try.
  }

  insert() {
    this.sentence.setRangeText("[MASK]", this.sentence.selectionStart, this.sentence.selectionEnd, "end");
    this.sentence.focus();
  }

  async ask() {
    const { dag_id, run_id } = this.run;
    this.button.disabled = true;
    this.status.textContent = "Reading the models …";
    try {
      const response = await fetch(`data/try?${new URLSearchParams({ dag_id, run_id })}`, { method: "POST", credentials: "same-origin",
        headers: { "Content-Type": "application/json" }, body: JSON.stringify({ values: { sentence: this.sentence.value } }) });
      const answer = await response.json().catch(() => ({}));
      if (!response.ok) throw new Error(answer.what || `the server answered ${response.status}`);
      this.models = answer.models;
      this.status.textContent = "";
      this.draw();
    } catch (error) {
      this.status.textContent = `Not filled in: ${error.message}`;
    }
    this.button.disabled = false;
  }

  draw() {
    const all = this.all.checked;
    fill(this.results, [this.models, all], ([models]) => (models || []).map((model, index) => h("section", { "aria-label": index ? "Previous model" : "This model" },
      h("h3", {}, index ? "Previous model " : "This model ", h("code", {}, model.model_id)),
      model.fault ? h("p", { class: "notice" }, h("strong", {}, model.fault.what), h("span", {}, model.fault.do))
        : model.masks.map((guesses, number) => [model.masks.length > 1 ? h("h4", {}, `[MASK] ${count(number + 1)}`) : null,
          words(guesses.filter(([word]) => all || !PUNCTUATION.test(word)).slice(0, SHOWN))]))));
  }
}
