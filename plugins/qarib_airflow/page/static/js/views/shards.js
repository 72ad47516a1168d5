// One cell per shard: colour and sign show the state, hover and focus show figures, a click shows the rest.
import { ask, explained, trigger } from "../parts/ask.js";
import { bytes, card, count, counted, decimal, duration, fill, h, isNumber, out, percent, runAddress, runQuery, tiles } from "../parts/dom.js";
import { logAddress, nothingOf } from "../parts/way.js";

const SIGNS = { waiting: "", converting: "▸", uploading: "↑", complete: "", failed: "×", corrupt: "!", missing: "?" };
const BROKEN = ["failed", "corrupt", "missing"];
const BACKFILL = "qarib_backfill_shards";

const titleOf = (shard) => shard.name.replace("shards/", "");

function figures(shard) {
  const pieces = shard.words && shard.wordpieces ? shard.wordpieces / shard.words : null;
  return [
    ["Examples", count(shard.examples)], ["Lines", count(shard.lines)], ["TFRecords", bytes(shard.bytes)],
    ["[UNK]", isNumber(shard.unknown_share) ? percent(shard.unknown_share, 3) : "–"],
    ["Wordpieces per word", decimal(pieces, 2)],
    ...(isNumber(shard.packing_efficiency) ? [["Rows full", percent(shard.packing_efficiency, 1)]] : []),
    ["Conversion", duration(shard.convert_seconds)], ["Upload", duration(shard.upload_seconds)],
    ["Attempts", count(shard.tries)],
  ];
}

// [CLS], or a masked word and what the model sees in its place: {word→[MASK]}.
const TOKEN = /(\[[A-Z]+\d*\]|\{[^{}→]*→[^{}]*\})/;
const ARABIC = /\p{Script=Arabic}/u;

/** The pieces of an example: [kind, text], and for a mask what stands in its place. */
function piecesOf(text) {
  return text.split(TOKEN).filter(Boolean).map((piece, index, all) => {
    if (!TOKEN.test(piece)) return ["words", piece];
    if (piece.startsWith("[")) return ["special", piece];
    const [word, seen] = piece.slice(1, -1).split("→");
    return ["mask", word, seen];
  });
}

function exampleOf(text) {
  const pieces = piecesOf(text);
  const words = pieces.filter(([kind]) => kind !== "special").map(([, word]) => word).join(" ");
  return h("p", { class: "arabic example", dir: ARABIC.test(words) ? "rtl" : "auto", lang: "ar" }, pieces.map(([kind, word, seen]) => {
    if (kind === "words") return word;
    if (kind === "special") return h("bdi", { class: "token", lang: "en" }, word);
    const how = seen === "[MASK]" ? "masked" : seen === word ? "kept" : `replaced by ${seen}`;
    return h("mark", { class: "masked", title: `to predict; ${how}` }, h("bdi", {}, word), seen === "[MASK]" ? null : h("bdi", { class: "token" }, seen === word ? "=" : seen));
  }));
}

export const shards = {
  title: "Shards",
  make: () => new Shards(),
};

class Shards {
  constructor() {
    this.cells = new Map();
    this.rows = new Map();
    this.only = null;
    this.chosen = null;
    this.totals = h("div");
    this.legend = h("div", { class: "legend", role: "group", "aria-label": "Show only one state" });
    this.training = h("div", { role: "group", "aria-label": "Training data", class: "cells" });
    this.heldout = h("div", { role: "group", "aria-label": "Held-out part", class: "cells" });
    this.heldoutTitle = h("h3", { "aria-hidden": "true" }, "Held-out part");
    this.grid = h("div", { role: "listbox", "aria-label": "Shards: arrow keys move, Enter opens", class: "grid",
      on: { keydown: (event) => this.key(event), click: (event) => this.pick(event.target), mouseover: (event) => this.peek(event.target),
        mouseleave: () => this.unpeek(), focusin: (event) => this.peek(event.target), focusout: () => this.unpeek() } },
    this.training, this.heldoutTitle, this.heldout);
    this.tip = h("div", { class: "tip", role: "tooltip", id: "tip", hidden: true });
    this.nothing = h("div");
    this.detail = h("aside", { class: "card detail", "aria-label": "Selected shard", "aria-live": "polite" });
    this.board = h("section", { class: "card board" }, h("h2", {}, "Shards"), this.legend, this.grid, this.nothing, this.tip);
    this.node = h("div", { class: "stack" }, this.totals, h("div", { class: "shards" }, this.board, this.detail));
    this.drawDetail();
  }

  update(data, run) {
    this.run = run;
    this.data = data;
    const { totals } = data;
    const states = totals.states || {};
    // A sum of some shards only says so.
    const part = (name) => (totals[`${name}_of`] && totals[`${name}_of`] < totals.shards ? `in ${count(totals[`${name}_of`])} of ${counted(totals.shards, "shard")}` : null);
    fill(this.totals, [totals, data.shards_per_second, data.seconds_left], () => totals.shards > 0 && card(null, tiles([
      ["Complete", count(states.complete), `of ${counted(totals.shards, "shard")}`],
      ["Incomplete or damaged", count(BROKEN.reduce((sum, state) => sum + (states[state] || 0), 0)), "failed, corrupt or missing"],
      ["Examples", count(totals.examples), part("examples")],
      ["TFRecords", bytes(totals.bytes), part("bytes")],
      ["Throughput", isNumber(data.shards_per_second) ? `${decimal(60 * data.shards_per_second, 1)}` : "–", "shards per minute of work"],
      ["Time left", duration(data.seconds_left)],
    ])));
    // The buttons stay, and with them the focus.
    fill(this.legend, data.states || {}, (all) => Object.entries(all).map(([state, title]) =>
      h("button", { type: "button", class: `key ${state}`, title, on: { click: () => this.filter(state) } },
        h("span", { class: `cell ${state}`, "aria-hidden": "true" }, SIGNS[state]), h("span", {}, state))));
    Object.keys(data.states || {}).forEach((state, index) => {
      const key = this.legend.children[index];
      key.setAttribute("aria-pressed", String(this.only === state));
      key.lastChild.textContent = `${state} ${count(states[state] || 0)}`;
    });
    this.draw(data.shards);
    fill(this.nothing, [!data.shards.length, run.way, data.trouble], ([none]) => none
      ? nothingOf(run, "shards", ["No shards yet", "The corpus is split into shards after it is collected."], data.trouble) : null);
    this.detail.hidden = !data.shards.length;
    this.heldoutTitle.hidden = !this.heldout.childElementCount;
    this.drawDetail();
  }

  draw(rows) {
    const before = this.cells;
    this.cells = new Map();
    this.rows = new Map(rows.map((shard) => [shard.name, shard]));
    const parts = { training: [], heldout: [] };
    for (const shard of rows) {
      const cell = before.get(shard.name) || h("div", { role: "option", tabindex: "-1" });
      const key = `${shard.state} ${shard.reason}`;
      if (cell.dataset.key !== key) {
        cell.dataset.key = key;
        cell.dataset.name = shard.name;
        cell.className = `cell ${shard.state}`;
        cell.textContent = SIGNS[shard.state];
        cell.setAttribute("aria-label", `${titleOf(shard)}: ${shard.state}`);
      }
      cell.setAttribute("aria-selected", String(shard.name === this.chosen));
      cell.classList.toggle("dim", Boolean(this.only) && shard.state !== this.only);
      this.cells.set(shard.name, cell);
      parts[shard.name.startsWith("heldout/") ? "heldout" : "training"].push(cell);
    }
    for (const [part, cells] of Object.entries(parts)) {
      const same = this[part].childElementCount === cells.length && cells.every((cell, index) => this[part].children[index] === cell);
      if (!same) this[part].replaceChildren(...cells);
    }
    const order = [...this.cells.values()];
    if (order.length && !order.some((cell) => cell.tabIndex === 0)) order[0].tabIndex = 0;
  }

  filter(state) {
    this.only = this.only === state ? null : state;
    this.update(this.data, this.run);
  }

  key(event) {
    const cells = [...this.cells.values()];
    const index = cells.indexOf(event.target);
    if (index < 0) return;
    const left = cells[index].offsetLeft;
    const below = (step) => {
      for (let next = index + step; cells[next]; next += step) {
        if (cells[next].offsetTop !== cells[index].offsetTop && Math.abs(cells[next].offsetLeft - left) < 9) return next;
      }
      return index;
    };
    const moves = { ArrowRight: () => index + 1, ArrowLeft: () => index - 1, ArrowDown: () => below(1), ArrowUp: () => below(-1),
      Home: () => 0, End: () => cells.length - 1 };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.pick(event.target);
    } else if (event.key === "Escape") {
      this.unpeek();
    } else if (moves[event.key]) {
      event.preventDefault();
      const next = cells[Math.min(cells.length - 1, Math.max(0, moves[event.key]()))];
      cells[index].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  }

  rowOf(target) {
    return target instanceof Element && target.dataset.name ? this.rows.get(target.dataset.name) : null;
  }

  peek(target) {
    const shard = this.rowOf(target);
    if (!shard) return;
    this.tip.hidden = false;
    this.tip.replaceChildren(h("strong", {}, titleOf(shard)), h("span", {}, `${shard.state}${shard.reason ? `: ${shard.reason}` : ""}`),
      h("span", {}, figures(shard).filter(([, figure]) => figure !== "–").map(([name, figure]) => `${name} ${figure}`).join(" · ")));
    const room = this.board.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(8, Math.min(target.offsetLeft - 20, room))}px`;
    this.tip.style.top = `${target.offsetTop + 26}px`;
  }

  unpeek() {
    this.tip.hidden = true;
  }

  pick(target) {
    const shard = this.rowOf(target);
    if (!shard) return;
    this.chosen = shard.name;
    this.cells.forEach((cell, name) => {
      cell.setAttribute("aria-selected", String(name === this.chosen));
      cell.tabIndex = name === this.chosen ? 0 : -1;
    });
    this.unpeek();
    this.drawDetail();
    if (window.matchMedia("(max-width: 900px)").matches) this.detail.scrollIntoView({ block: "nearest" });
  }

  drawDetail() {
    const shard = this.rows.get(this.chosen) || null;
    fill(this.detail, [shard, this.data?.dataset_id, this.data?.may_backfill], () => shard ? this.detailOf(shard)
      : [h("h2", {}, "Shard details"), h("p", { class: "faint" }, `Select a cell to see the shard's figures and logs${this.data?.may_backfill ? ", or to convert it again" : ""}.`)]);
  }

  detailOf(shard) {
    const sample = h("div");
    const log = (step) => out(logAddress(this.run, { task: `shard.${step}`, map_index: shard.map_index }), `Log of ${step}`, { class: "button" });
    return [
      h("h2", {}, titleOf(shard)),
      h("p", { class: "row" }, h("span", { class: `cell ${shard.state}`, "aria-hidden": "true" }, SIGNS[shard.state]),
        h("strong", {}, shard.state), h("span", { class: "faint" }, this.data.states[shard.state])),
      shard.reason ? h("p", { class: "reason", dir: "auto" }, shard.reason) : null,
      h("dl", { class: "pairs" }, figures(shard).map(([name, figure]) => h("div", {}, h("dt", {}, name), h("dd", {}, figure)))),
      h("div", { class: "row" }, isNumber(shard.map_index) ? [log("convert"), log("upload")] : null,
        shard.name.startsWith("#") ? null : h("button", { type: "button", on: { click: () => this.showSample(shard, sample) } }, "Examples")),
      sample,
      shard.name.startsWith("#") || !this.data?.may_backfill ? null : this.backfill(shard),
    ];
  }

  async showSample(shard, place) {
    const answer = await ask(`data/shard?${runQuery(this.run)}&name=${encodeURIComponent(shard.name)}`).catch((fault) => fault);
    const examples = answer.sample || [];
    const fault = answer.what || answer.trouble?.what;
    place.replaceChildren(h("h3", {}, "Examples as the model sees them"), fault && !examples.length ? h("p", { class: "faint" }, `Not shown: ${fault}.`) : examples.length
      ? h("ol", { class: "examples" }, examples.slice(0, 5).map((one) => h("li", {},
        h("span", { class: "faint" }, "documents" in one ? `documents: ${one.documents}` : `next sentence: ${one.next_sentence}`), exampleOf(String(one.text)))))
      : h("p", { class: "faint" }, "This shard has no sample."));
  }

  /** Asks for confirmation first. Airflow starts the run and checks the user's permission to trigger it. */
  backfill(shard) {
    const conf = { dataset: this.data.dataset_id, workspace: this.data.workspace, shards: [shard.name] };
    const status = h("p", { role: "status" });
    const confirmation = h("div", { class: "confirmation", hidden: true }, h("p", {}, "This triggers the DAG ", h("code", {}, BACKFILL), " with"),
      h("pre", { tabindex: "0" }, JSON.stringify(conf, null, 1)),
      h("p", { class: "faint" }, "A complete shard is not converted again."),
      h("div", { class: "row" }, h("button", { type: "button", class: "first", on: { click: (event) => this.trigger(conf, status, event.target) } }, "Convert and upload it"),
        h("button", { type: "button", on: { click: () => { confirmation.hidden = true; } } }, "Cancel")), status);
    return h("div", { class: "backfill" },
      h("button", { type: "button", class: BROKEN.includes(shard.state) ? "first" : null, on: { click: () => { confirmation.hidden = !confirmation.hidden; } } }, "Backfill this shard"), confirmation);
  }

  async trigger(conf, status, button) {
    button.disabled = true;
    status.replaceChildren("Sending the request to Airflow …");
    try {
      const run = await trigger(BACKFILL, conf);
      status.replaceChildren("Started: ", out(runAddress(run), run.run_id));
    } catch (error) {
      status.replaceChildren(...explained("Not started", error));
      button.disabled = false;
    }
  }
}
