// What the corpus keeps and drops, and how the vocabulary fits it.
import { bars, bytes, card, count, decimal, empty, fill, h, percent, short, table, tiles, when } from "./dom.js";

const COLUMNS = [
  ["files", "Files"], ["left_out_files", "Left out"], ["bytes_read", "Read", bytes], ["undecodable_bytes", "Undecodable bytes"],
  ["skipped", "Skipped"], ["lines_read", "Lines read"], ["documents_read", "Documents cleaned"],
  ["duplicates", "Repeats"], ["near_duplicates", "Near-repeats"], ["outside_share", "Outside the share"],
  ["heldout_documents", "Held out"], ["documents", "Documents kept"], ["lines", "Lines kept"], ["words", "Words"], ["bytes", "Kept", bytes],
];

const words = (name) => name.replaceAll("_", " ");

/** The documents by outcome: kept, held out, or dropped and why. */
function funnel(totals) {
  const parts = [
    ["kept", totals.documents], ["held out", totals.heldout_documents], ["repeats", totals.duplicates],
    ["near-repeats", totals.near_duplicates], ["outside the share", totals.outside_share],
  ].filter(([, number]) => number);
  const all = parts.reduce((sum, [, number]) => sum + number, 0) || 1;
  return h("div", { class: "funnel" },
    h("div", { class: "funnel-bar", "aria-hidden": "true" }, parts.map(([name, number]) => h("i", { class: `part ${name.replaceAll(" ", "-")}`, width: number / all }))),
    h("ul", { class: "row" }, parts.map(([name, number]) => h("li", {}, h("i", { class: `swatch part ${name.replaceAll(" ", "-")}`, "aria-hidden": "true" }),
      `${name} ${count(number)} (${percent(number / all)})`))));
}

const arabic = (text) => h("p", { class: "arabic", dir: "auto", lang: "ar" }, text);

function samples(found) {
  return Object.entries(found).filter(([, pairs]) => pairs.length).map(([name, pairs], index) =>
    h("details", { open: index === 0 }, h("summary", {}, name),
      h("ol", { class: "pairs-of-text" }, pairs.map(([before, after]) => h("li", {},
        h("div", {}, h("span", { class: "faint" }, "before"), arabic(before)),
        h("div", {}, h("span", { class: "faint" }, "after"), after ? arabic(after) : h("p", { class: "faint" }, "dropped")))))));
}

function corpusOf(data) {
  const { totals } = data;
  const sources = Object.entries(data.sources);
  const used = COLUMNS.filter(([key]) => totals[key] || ["documents", "lines", "words"].includes(key));
  return [
    ...data.warnings.map((text) => h("p", { class: "notice", role: "note" }, `Warning: ${text}`)),
    card("What was kept", tiles([
      ["Documents", short(totals.documents), `of ${short(totals.documents_read)} read`], ["Lines", short(totals.lines)],
      ["Words", short(totals.words)], ["Size", bytes(totals.bytes), `of ${bytes(totals.bytes_read)} read`],
      ["Sources", count(sources.length), `${count(totals.files)} files`], ["Made", h("span", { class: "small" }, when(data.made_at))],
    ]), funnel(totals)),
    card("What was dropped", data.lost.length ? table("What was dropped, by rule", ["Rule", "Dropped", "Share of the bytes"],
      data.lost.map(([rule, number, total, unit, share]) => [words(rule), `${count(number)}${total ? ` of ${count(total)}` : ""} ${unit}`, percent(share)]))
      : null, h("p", { class: "faint" }, data.summary || "Nothing was dropped.")),
    card("Sources", table("Sources", ["Source", ...used.map(([, name]) => name)],
      [...sources, ["all", totals]].map(([name, source]) => [name, ...used.map(([key, , show]) => (show || count)(source[key] || 0))]))),
    data.files.length ? card("Files", table("Files", ["File", "What"], data.files)) : null,
    h("div", { class: "three" },
      card("Cleaning", data.changed.length ? bars("Places changed, by rule", data.changed.map(([name, number]) => [words(name), number]))
        : h("p", { class: "faint" }, "No rule changed anything.")),
      card("Words per line", bars("before deduplication", data.line_words)),
      card("Lines per document", bars("of the kept documents", data.document_lines))),
    card("Before and after cleaning", samples(data.samples)),
  ];
}

function vocabularyOf(data) {
  const { statistics, fit, config } = data;
  return [
    card("Vocabulary", tiles([
      ["Entries", count(statistics.vocab_size)],
      ["[UNK]", fit ? percent(fit.unknown_share, 3) : "–", "of the wordpieces"],
      ["Wordpieces per word", fit ? decimal(fit.wordpieces_a_word, 2) : "–"],
      statistics.distinct_words ? ["Distinct words", short(statistics.distinct_words), "used for training it"] : null,
      statistics.characters ? ["Characters", count(statistics.characters)] : null,
      ["Recipe", h("span", { class: "small" }, config.recipe || "–"), config.model_type],
    ]),
    fit ? h("p", { class: "faint" }, `Measured on ${count(fit.words)} words of ${count(fit.shards)} shards.`) : null,
    h("h3", {}, "The first entries"),
    h("ul", { class: "chips", dir: "rtl", lang: "ar" }, data.sample.map((one) => h("li", { class: "arabic" }, h("bdi", {}, one))))),
  ];
}

export const corpus = {
  title: "Corpus and vocabulary",
  address: (run) => `data/corpus?${new URLSearchParams({ dag_id: run.dag_id, run_id: run.run_id })}`,
  make() {
    const node = h("div", { class: "stack" });
    return {
      node,
      update(data) {
        fill(node, [data.corpus, data.vocabulary], () => [
          data.corpus ? corpusOf(data.corpus) : empty("No corpus yet", "The sources are being read and cleaned."),
          data.vocabulary ? vocabularyOf(data.vocabulary)
            : data.corpus ? card("Vocabulary", h("p", { class: "faint" }, "The vocabulary is built after the corpus.")) : null,
        ]);
      },
    };
  },
};
