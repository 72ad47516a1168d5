// The model compared with the previous one, and the locations of its files.
import { against, bytes, card, count, decimal, fill, h, isNumber, out, percent, table, tiles, when } from "../parts/dom.js";
import { markdown } from "../parts/markdown.js";
import { hasEnded, nothingOf } from "../parts/way.js";
import { Try } from "./try.js";

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
  address: (run) => `data/model?${new URLSearchParams({ dag_id: run.dag_id, run_id: run.run_id })}`,
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
