// What the corpus keeps and drops, and how the vocabulary fits it.
import { apart, bars, bytes, card, count, counted, decimal, fill, h, labelled, percent, short, table, tiles, when } from "../parts/dom.js";
import { nothingOf } from "../parts/way.js";

// The difference of two texts is marked in each of them. Their words stay in their order, so that Arabic stays joined.
const MOST_COMPARED = 700; // characters that are compared; the rest is not marked
const TOKEN = /\p{L}[\p{L}\p{M}\u0640]*|\p{N}+|[^\p{L}\p{N}]/gu;
// What has no width or joins its neighbours is shown by its number.
const UNSEEN = /^[\p{Cc}\p{Cf}\p{Mn}\p{Zs}]+$/u;

/** The longest common sequence of two lists, as [[from, to, length]] runs in both. */
function common(one, other) {
  const width = other.length + 1;
  const best = new Uint16Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i -= 1) {
    for (let j = other.length - 1; j >= 0; j -= 1) {
      best[i * width + j] = one[i] === other[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const runs = [];
  for (let i = 0, j = 0; i < one.length && j < other.length;) {
    if (one[i] === other[j]) {
      const last = runs[runs.length - 1];
      if (last && last[0] + last[2] === i && last[1] + last[2] === j) last[2] += 1;
      else runs.push([i, j, 1]);
      i += 1;
      j += 1;
    } else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return runs;
}

/** [equal?, text of one, text of the other] pieces. */
function pieces(one, other) {
  const found = [];
  let [i, j] = [0, 0];
  for (const [from, to, length] of [...common(one, other), [one.length, other.length, 0]]) {
    if (from > i || to > j) found.push([false, one.slice(i, from), other.slice(j, to)]);
    if (length) found.push([true, one.slice(from, from + length), other.slice(to, to + length)]);
    [i, j] = [from + length, to + length];
  }
  return found;
}

/** Two texts as pieces: words are compared first, then the characters of words that differ. */
function difference(before, after) {
  const [one, other] = [before, after].map((text) => text.slice(0, MOST_COMPARED).match(TOKEN) || []);
  const found = pieces(one, other).flatMap(([equal, old, now]) => {
    if (equal) return [[true, old.join(""), now.join("")]];
    return pieces([...old.join("")], [...now.join("")]).map(([same, a, b]) => [same, a.join(""), b.join("")]);
  });
  const rest = [before.slice(MOST_COMPARED), after.slice(MOST_COMPARED)];
  return rest[0] || rest[1] ? [...found, [rest[0] === rest[1], ...rest]] : found;
}

const codes = (text) => [...text].map((one) => `U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`).join(" ");

/** The two texts as elements: what is only in the first one is `del`, what is only in the second one `ins`. */
function marked(before, after) {
  const found = difference(before, after);
  return [1, 2].map((side) => found.map((piece) => {
    const text = piece[side];
    if (piece[0] || !text) return text;
    return h(side === 1 ? "del" : "ins", { "data-code": UNSEEN.test(text) && text !== " " ? codes(text) : null }, text);
  }));
}

const words = (name) => name.replaceAll("_", " ");

/** A tile of what was kept and what was read, if that is known. */
function of(name, kept, read, show) {
  const [figure, all] = apart([kept, read], show);
  return [name, figure, read === null ? null : `of ${all} read`];
}

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

const FOLDED = /[\u064B-\u065F\u0670\u0640]/g; // Diacritics and tatweel do not matter to a search.
const folded = (text) => text.normalize("NFKC").replace(FOLDED, "").toLowerCase();

/** A text before and after: [before, after, its source]. Without `after`, it was dropped. */
function pair([before, after, source]) {
  const [old, now] = after ? marked(before, after) : [before, null];
  return h("li", {},
    h("div", {}, h("span", { class: "faint" }, after ? "before" : "dropped"), source ? h("bdi", { class: "note" }, ` ${source}`) : null, arabic(old)),
    after ? h("div", {}, h("span", { class: "faint" }, "after"), arabic(now)) : null);
}

/** Texts by rule and by source, each group drawn when it is opened; a search opens those that have the words. */
function texts(data) {
  const places = Object.fromEntries(data.changed);
  const lost = Object.fromEntries(data.lost.map(([rule, number, , unit]) => [rule, counted(number, unit.replace(/s$/, ""))]));
  const groups = [
    ...Object.entries(data.changed_texts).map(([rule, found]) => [`Changed by ${words(rule)}`, places[rule] ? counted(places[rule], "place") : "",
      found.map(([source, before, after]) => [before, after, source])]),
    ...Object.entries(data.dropped_texts).map(([rule, found]) => [`Dropped: ${words(rule)}`, lost[rule] || "", found.map(([source, text]) => [text, "", source])]),
    ...Object.entries(data.samples).map(([source, found]) => [`Sample of ${source}`, "", found.map(([before, after]) => [before, after, ""])]),
  ].filter(([, , found]) => found.length);
  const total = groups.reduce((sum, [, , found]) => sum + found.length, 0);
  const status = h("p", { class: "faint", role: "status" }, counted(total, "text"));
  const made = groups.map(([title, note, found], index) => {
    const list = h("ol", { class: "pairs-of-text" });
    const searchable = found.map((one) => folded(one.join(" ")));
    let shown = found;
    const draw = () => fill(list, node.open ? shown : [], (now) => now.map(pair));
    const node = h("details", { open: index === 0, on: { toggle: draw } }, h("summary", {}, h("bdi", {}, title), note ? h("span", { class: "faint" }, ` ${note}`) : null), list);
    draw();
    return { node, search(text) {
      shown = text ? found.filter((_, at) => searchable[at].includes(text)) : found;
      node.hidden = !shown.length;
      node.open = text ? shown.length > 0 : index === 0;
      draw();
      return shown.length;
    } };
  });
  const search = h("input", { type: "search", id: "search-texts", autocomplete: "off", dir: "auto", on: { input: () => {
    const text = folded(search.value.trim());
    const number = made.reduce((sum, one) => sum + one.search(text), 0);
    status.textContent = text ? `${count(number)} of ${counted(total, "text")}` : counted(total, "text");
  } } });
  return total ? [
    h("div", { class: "row spread" }, labelled("Search in these texts", search), status),
    made.map((one) => one.node)] : h("p", { class: "faint" }, "There are no texts to show.");
}

function corpusOf(data) {
  const { totals } = data;
  const sources = Object.entries(data.sources);
  return [
    ...data.warnings.map((text) => h("p", { class: "notice", role: "note" }, `Warning: ${text}`)),
    card("What was kept", tiles([
      of("Documents", totals.documents, totals.documents_read, short), ["Lines", short(totals.lines)],
      ["Words", short(totals.words)], of("Text", totals.bytes, totals.text_read, bytes),
      ["Sources", count(sources.length), counted(totals.files, "file")], ["Made", h("span", { class: "small" }, when(data.made_at))],
    ]), funnel(totals)),
    card("What was dropped", data.lost.length ? table("What was dropped, by rule", ["Rule", "Dropped", "Share of the bytes"],
      data.lost.map(([rule, number, total, unit, share]) => [words(rule), `${total ? `${count(number)} of ` : ""}${counted(total || number, unit.replace(/s$/, ""))}`, percent(share)]))
      : null, h("p", { class: "faint" }, data.summary || (data.lost.length ? "" : "Nothing was dropped."))),
    card("Sources", table("Sources", ["Source", ...data.columns.map(([, name]) => name)],
      [...sources, ["all", totals]].map(([name, source]) => [name, ...data.columns.map(([key, , size]) => (size ? bytes : count)(source[key]))]))),
    data.files.length ? card("Files", table("Files", ["File", "What"], data.files)) : null,
    h("div", { class: "three" },
      card("Cleaning", data.changed.length ? bars("Places changed, by rule", data.changed.map(([name, number]) => [words(name), number]))
        : h("p", { class: "faint" }, "No rule changed anything.")),
      card("Words per line", bars("before deduplication", data.line_words)),
      card("Lines per document", bars("of the kept documents", data.document_lines))),
    card("Before and after cleaning", texts(data)),
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
    fit ? h("p", { class: "faint" }, `Measured on ${counted(fit.words, "word")} of ${counted(fit.shards, "shard")}.`) : null,
    h("h3", {}, "The first entries"),
    h("ul", { class: "chips", dir: "rtl", lang: "ar" }, data.sample.map((one) => h("li", { class: "arabic" }, h("bdi", {}, one))))),
  ];
}

export const corpus = {
  title: "Corpus and vocabulary",
  make() {
    const node = h("div", { class: "stack" });
    return {
      node,
      update(data, run) {
        fill(node, [data.corpus, data.vocabulary, data.trouble, run.way], () => [
          data.corpus ? corpusOf(data.corpus) : nothingOf(run, "collect", ["No corpus yet", "The sources are read and cleaned first."], data.trouble),
          data.vocabulary ? vocabularyOf(data.vocabulary)
            : data.corpus ? card("Vocabulary", nothingOf(run, "vocabulary", ["No vocabulary yet", "It is built after the corpus."], data.trouble)) : null,
        ]);
      },
    };
  },
};
