// The model compared with the previous one, and the locations of its files.
import { ask, explained } from "../parts/ask.js";
import { against, bytes, card, check, count, decimal, faultOf, fill, h, isNumber, labelled, out, percent, runQuery, table, tiles, when } from "../parts/dom.js";
import { markdown } from "../parts/markdown.js";
import { hasEnded, nothingOf } from "../parts/way.js";

const shares = (value, more = 0) => percent(value, 2 + more);
// [key, name, format, whether higher (1) or lower (-1) is better]
const METRICS = [
  ["masked_lm_loss", "Masked-LM loss", (value, more = 0) => decimal(value, 3 + more), -1],
  ["masked_lm_accuracy", "Masked-LM accuracy", shares, 1],
  ["perplexity", "Perplexity", (value, more = 0) => decimal(value, 1 + more), -1],
  ["next_sentence_accuracy", "Next-sentence accuracy", shares, 1],
  ["step", "Steps", count, 0],
  ["examples", "Held-out examples", count, 0],
];

function change(own, former, sense, difference) {
  if (!isNumber(own) || !isNumber(former) || !sense) return "";
  if (!difference) return "no change";
  const better = (own - former) * sense > 0;
  return h("span", { class: better ? "better" : "worse" }, `${own > former ? "▲" : "▼"} ${difference} ${better ? "better" : "worse"}`);
}

function comparison(data) {
  const { evaluation, former } = data;
  const rows = METRICS.filter(([key]) => isNumber(evaluation[key])).map((metric) => {
    const [key, name, show, sense] = metric;
    const [own, before] = [evaluation[key], former?.evaluation[key]];
    const [mine, theirs, difference] = against(own, before, show);
    return former ? [name, mine, theirs, former.same_heldout ? change(own, before, sense, difference) : ""] : [name, mine];
  });
  const head = ["On the held-out part", "This model", ...(former ? ["Previous model", "Change"] : [])];
  return [
    table("Evaluation", head, rows),
    former ? h("p", { class: "faint" }, "Previous: ", h("code", {}, former.model_id),
      former.same_heldout ? ", evaluated on the same held-out part." : former.same_heldout === false
        ? ", evaluated on another held-out part: you cannot compare the figures." : ". Whether it was evaluated on the same held-out part is not known: the figures are not compared.")
      : h("p", { class: "faint" }, "There is no previous model to compare with."),
  ];
}

function modelOf(data, run) {
  const yet = hasEnded(run) ? "" : " yet";
  const total = data.files.reduce((sum, file) => sum + (file.bytes || 0), 0);
  return [
    card("Model", tiles([
      ["Name", h("code", { class: "small" }, data.model_id)],
      ["State", h("span", { class: "small" }, data.is_promoted ? "promoted" : data.judgement ? "candidate" : data.state || `not exported${yet}`)],
      ["Exported", h("span", { class: "small" }, when(data.made_at))],
      data.files.length ? ["Files", count(data.files.length), bytes(total)] : null,
    ])),
    card("Evaluation", data.judgement ? h("p", { class: "judgement" }, data.judgement) : null, data.evaluation ? comparison(data) : h("p", { class: "faint" }, `The model has not been evaluated${yet}.`)),
    data.links.length ? card("Locations", h("dl", { class: "places" }, data.links.map((link) => h("div", {},
      h("dt", {}, link.title), h("dd", {}, h("code", {}, link.address), " ", link.href ? out(link.href, `${link.title} in the console`, { target: "_blank", rel: "noopener" }) : null))))) : null,
    data.files.length ? card(null, h("details", {}, h("summary", {}, `Files of the export (${count(data.files.length)})`),
      table("Files", ["Name", "Size"], data.files.map((file) => [h("code", {}, file.name), bytes(file.bytes)])))) : null,
    data.card ? card(null, h("details", { open: true }, h("summary", {}, "Model card"),
      h("div", { class: "card-text", dir: "auto", tabindex: "0", role: "region", "aria-label": "Model card" }, markdown(data.card)))) : null,
  ];
}

export const model = {
  title: "Model",
  make() {
    const main = h("div", { class: "stack" });
    const trial = new Try();
    return {
      node: h("div", { class: "stack" }, main, trial.node),
      update(data, run) {
        trial.update(run, data);
        fill(main, [data, run.way, run.state], () => data.model_id ? modelOf(data, run)
          : nothingOf(run, "preflight", ["No model yet", "The model gets its name when the run's settings are checked."], data.trouble));
      },
    };
  },
};

// Try it: a sentence with [MASK], and the words that this and the previous model put there.
const SHOWN = 5; // words for each [MASK]
const EXAMPLE = "السلام عليكم ورحمة [MASK] وبركاته";
const PUNCTUATION = /^\p{P}+$/u;

const words = (guesses) => h("ol", { class: "guesses", dir: "rtl" }, guesses.map(([word, share]) => h("li", {},
  h("bdi", { class: "arabic" }, word), h("span", { class: "guess", "aria-hidden": "true" }, h("i", { width: share })), h("span", { class: "faint", dir: "ltr" }, percent(share)))));

/** Sends a sentence when one asks for it. The answer stays while the view is refreshed. */
class Try {
  constructor() {
    this.sentence = h("input", { type: "text", id: "try-sentence", dir: "auto", lang: "ar", maxlength: 500, required: true, autocomplete: "off" });
    this.sentence.value = EXAMPLE;
    this.button = h("button", { type: "submit", class: "first" }, "Fill in");
    this.all = check("Punctuation too", false, () => this.draw());
    this.status = h("p", { role: "status", class: "faint" });
    this.results = h("div", { class: "two" });
    const form = h("form", { class: "stack", on: { submit: (event) => { event.preventDefault(); this.ask(); } } },
      labelled("A sentence with [MASK]", this.sentence),
      h("div", { class: "row" }, this.button, h("button", { type: "button", on: { click: () => this.insert() } }, "Insert [MASK]"), this.all));
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
    this.button.disabled = true;
    this.status.textContent = "Reading the models …";
    this.models = null; // What is shown is of this sentence, or nothing.
    this.draw();
    try {
      this.models = (await ask(`data/try?${runQuery(this.run)}`, { values: { sentence: this.sentence.value } })).models;
      this.status.textContent = "";
      this.draw();
    } catch (error) {
      this.status.replaceChildren(...explained("Not filled in", error));
    }
    this.button.disabled = false;
  }

  draw() {
    const all = this.all.firstChild.checked;
    fill(this.results, [this.models, all], ([models]) => (models || []).map((model, index) => h("section", { "aria-label": index ? "Previous model" : "This model" },
      h("h3", {}, index ? "Previous model " : "This model ", h("code", {}, model.model_id)),
      model.fault ? faultOf(model.fault)
        : model.masks.map((guesses, number) => [model.masks.length > 1 ? h("h4", {}, `[MASK] ${count(number + 1)}`) : null,
          words(guesses.filter(([word]) => all || !PUNCTUATION.test(word)).slice(0, SHOWN))]))));
  }
}
