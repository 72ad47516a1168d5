// The table of all runs. What is shown of it is in the address; the columns are kept in the browser.
import { addressOf, apart, badge, bytes, check, count, counted, decimal, duration, empty, fill, h, isNumber, kept, labelled, money, out, percent, progress, runAddress, short, table, when } from "../parts/dom.js";
import { NoteForm } from "../parts/note.js";
import { saveTable } from "../parts/save.js";
import { failureOf, partOf, signsOf, skipsOf, waitsOf, wayOf } from "../parts/way.js";

const MOST_CHOSEN = 8;
const KEPT = "qarib.columns";
const faint = (text, properties = {}) => h("span", { class: "faint", ...properties }, text);
const keyOf = (run) => `${run.dag_id}/${run.run_id}`;
const nameOf = (run) => run.note.name || run.run_id;

function settingsOf({ settings }) {
  if (!settings) return "–";
  if (!settings.length) return faint("none");
  const shown = settings.slice(0, 2).map((one) => `${one.title} ${one.value}`).join(", ");
  return h("span", { title: settings.map((one) => `${one.title}: ${one.value}`).join("\n") }, shown, settings.length > 2 ? faint(` +${settings.length - 2}`) : null);
}

const lossOf = (run) => h("span", { class: isNumber(run.unigram_entropy) && run.heldout_loss >= run.unigram_entropy ? "worse" : null }, decimal(run.heldout_loss));
const stepsOf = ({ training }) => (training ? apart([training.step, training.train_steps], short).join(" of ") : "–");
const scoreOf = ({ score }) => (score ? [decimal(score.value), h("span", { class: "cell-note" }, [score.task, score.metric, score.tuned ? "" : "probe"].filter(Boolean).join(", "))] : "–");
const costOf = (run) => (run.tpu ? (run.tpu.emulated ? faint("emulated") : money(run.cost)) : run.trouble ? "–" : faint("no TPU"));

// [name, title, cell, whether it is shown at first, whether Airflow's database has it, what a file has in place of the cell]
const COLUMNS = [
  ["state", "State", (run) => badge(run.state), true, true, (run) => run.state],
  ["parts", "Parts", signsOf, true, false, (run) => run.way.map(({ name, state }) => `${name}: ${state}`).join(", ")],
  ["preset", "Preset", (run) => run.preset || "–", true],
  ["started", "Started", (run) => when(run.started), true, true, (run) => run.started],
  ["duration", "Duration", (run) => duration(run.seconds), true, true, (run) => run.seconds],
  ["settings", "Changed settings", settingsOf, true, false, (run) => run.settings?.map((one) => `${one.title}: ${one.value}`).join("; ")],
  ["steps", "Steps", stepsOf, true, false, (run) => run.training?.step],
  ["loss", "Held-out loss", lossOf, true, false, (run) => run.heldout_loss],
  ["score", "Best score", scoreOf, true],
  ["goodput", "Goodput", (run) => percent(run.goodput), true, false, (run) => run.goodput],
  ["cost", "Cost", costOf, true],
  ["user", "User", (run) => run.user || "–", false, true],
  ["dag", "DAG", (run) => run.dag_id, false, true],
  ["dataset", "Dataset", (run) => h("code", {}, run.dataset_id || "–"), false],
  ["model", "Model", (run) => h("code", {}, run.model_id || "–"), false],
];
const UNSORTED = ["parts"];
const SORTS = [["name", "Run"], ...COLUMNS.filter(([name]) => !UNSORTED.includes(name))];
const FILTERS = { state: "State", preset: "Preset", dag: "DAG", tag: "Tag" };

function keptColumns() {
  const own = kept("localStorage", KEPT);
  return new Set(Array.isArray(own) ? own : COLUMNS.filter(([, , , first]) => first).map(([name]) => name));
}

/** A run: its row, why it failed, and its details, which open below it. */
class Row {
  constructor(view, run) {
    this.view = view;
    this.open = false;
    this.id = `run-${(Row.made = (Row.made || 0) + 1)}`;
    this.main = h("tr");
    this.reason = h("td", { class: "reason-cell" });
    this.facts = h("div", { class: "stack" });
    this.inner = h("div", { class: "stack run-facts" }, this.facts);
    this.more = h("tr", { id: this.id, hidden: true }, h("td", {}, this.inner));
    this.below = h("tr", { hidden: true }, this.reason);
    this.node = h("tbody", { class: "run" }, this.main, this.below, this.more);
  }

  update(run, columns, mayNote) {
    this.run = run;
    const held = this.node.contains(document.activeElement) ? document.activeElement.dataset.control : null;
    const chosen = this.view.chosen.includes(keyOf(run));
    const full = !chosen && this.view.chosen.length >= MOST_CHOSEN;
    fill(this.main, [run, columns.map(([name]) => name), this.open, chosen, full], () => [this.first(run, chosen, full), ...columns.map(([name, title, cell, , known]) =>
      h("td", { class: `is-${name}`, "data-title": title }, run.read || known ? cell(run) : faint("…", { title: "is being read" })))]);
    const failure = failureOf(run);
    const others = [waitsOf(run), ...skipsOf(run), run.fault ? `${run.fault.what}: ${run.fault.where || ""}. ${run.fault.do || ""}` : null].filter(Boolean);
    fill(this.reason, [run.way, run.fault, run.waits], () => [failure ? h("div", { class: "notice" }, failure) : null, others.map((text) => h("p", { class: "note" }, text))]);
    this.below.hidden = !failure && !others.length;
    for (const cell of [this.reason, this.more.firstChild]) cell.colSpan = columns.length + 1;
    this.more.hidden = !this.open;
    if (this.open && mayNote && !this.note) {
      this.note = new NoteForm(run, this.id, () => this.view.ask());
      this.inner.append(this.note.node);
    }
    if (this.open) fill(this.facts, run, () => this.details(run));
    else fill(this.facts, null, () => []);
    if (held) this.node.querySelector(`[data-control=${held}]`)?.focus();
  }

  first(run, chosen, full) {
    const box = h("input", { type: "checkbox", "data-control": "choose", "aria-label": `Compare ${nameOf(run)}`, disabled: full, on: { change: () => this.view.choose(run) } });
    box.checked = chosen;
    return h("th", { scope: "row", class: "run-cell" }, h("div", { class: "run-head" }, box,
      h("button", { type: "button", class: "opener", "data-control": "open", "aria-expanded": String(this.open), "aria-controls": this.id, "aria-label": `Details of ${nameOf(run)}`,
        on: { click: () => { this.open = !this.open; this.view.redraw(); } } }, this.open ? "▾" : "▸"),
      h("div", { class: "run-names" }, h("a", { class: "run-name", dir: "auto", "data-control": "name", href: addressOf(run.training ? "training" : "shards", run) }, nameOf(run)),
        run.note.name ? h("span", { class: "run-id faint" }, run.run_id) : null,
        run.note.tags.length ? h("ul", { class: "chips tags" }, run.note.tags.map((tag) => h("li", { dir: "auto" }, tag))) : null)));
  }

  details(run) {
    const { data, training } = run;
    const settings = run.settings || [];
    return [
      run.note.text ? h("p", { class: "note-text", dir: "auto" }, run.note.text) : null,
      wayOf(run),
      h("dl", { class: "run-figures" },
        h("div", {}, h("dt", {}, "Corpus"), h("dd", {}, data.lines ? `${short(data.lines)} lines, ${bytes(data.bytes)}` : "–",
          (data.warnings || []).map((text) => h("span", { class: "note warning" }, text)))),
        h("div", {}, h("dt", {}, "Dataset"), h("dd", {}, data.dataset_shards
          ? `${counted(data.dataset_shards, "shard")}, ${short(data.dataset_examples)} examples, ${bytes(data.dataset_bytes)}` : "–")),
        h("div", {}, h("dt", {}, "Training"), h("dd", { class: "training-cell" }, training ? [h("span", {}, `${stepsOf(run)} steps`),
          progress(training.step / training.train_steps, "Steps of the training"), faint(`loss ${decimal(training.loss)}`)] : faint(run.trouble ? "–" : partOf(run, "training")?.state || "–"))),
        h("div", {}, h("dt", {}, "Cost to date"), h("dd", {}, costOf(run)))),
      settings.length ? table("Settings that are not the preset's", ["Setting", "This run", run.preset || "Preset"],
        settings.map((one) => [h("span", { title: one.name }, one.title), h("bdi", {}, one.value), h("bdi", {}, one.preset)])) : null,
      h("div", { class: "row" }, ["training", "shards", "model"].map((name) => h("a", { href: addressOf(name, run) }, name[0].toUpperCase() + name.slice(1))),
        out(runAddress(run), "In Airflow"), run.dag_id === "qarib_pretrain" ? h("a", { href: `${addressOf("new", run)}&again=1` }, "Run again with these values") : null),
    ];
  }
}

class Runs {
  constructor({ query, ask, keep }) {
    Object.assign(this, { query, ask, keep, columns: keptColumns(), rows: new Map() });
    const choice = (name, title) => labelled(title, h("select", { id: `by-${name}`, on: { change: (event) => this.set({ [name]: event.target.value }) } }, h("option", { value: "" }, "any")));
    this.text = h("input", { type: "search", id: "by-text", autocomplete: "off", dir: "auto", placeholder: "name, setting, failure", on: { input: () => this.typed() } });
    this.text.value = query.get("text") || "";
    this.filters = Object.fromEntries(Object.entries(FILTERS).map(([name, title]) => [name, choice(name, title)]));
    this.sorting = h("select", { id: "by-sort", on: { change: (event) => this.sortBy(event.target.value) } }, SORTS.map(([name, title]) => h("option", { value: name }, title)));
    this.turn = h("button", { type: "button", on: { click: () => this.sortBy(this.sort.name) } });
    this.choosing = h("details", { class: "columns" }, h("summary", {}, "Columns"), h("div", { class: "column-list" }, COLUMNS.map(([name, title]) => check(title, this.columns.has(name), () => this.toggle(name)))));
    this.said = h("p", { class: "faint" });
    this.comparing = h("div", { class: "row" });
    this.pages = h("div", { class: "row" });
    this.saving = h("button", { type: "button", on: { click: () => this.saveRows() } }, "CSV of these rows");
    this.head = h("tr");
    this.table = h("table", { class: "runs" }, h("caption", { class: "hidden" }, "Runs"), h("thead", {}, this.head));
    this.scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" }, this.table);
    this.nothing = h("div");
    this.unlike = h("div");
    this.shown = h("div", { class: "stack" },
      h("section", { class: "card runs-tools" }, h("div", { class: "fields" }, labelled("Search", this.text), Object.values(this.filters),
        labelled("Order by", this.sorting, h("div", { class: "row" }, this.sorting, this.turn))),
      h("div", { class: "row spread" }, this.said, this.comparing, this.choosing)),
      h("section", { class: "card wide" }, this.unlike, this.scroll, this.nothing), h("div", { class: "row spread" }, this.pages, this.saving));
    this.blank = h("div");
    this.node = h("div", {}, this.shown, this.blank);
    this.table.addEventListener("keydown", (event) => this.key(event));
  }

  get chosen() {
    return this.query.getAll("run");
  }

  get sort() {
    const text = this.query.get("sort") || "-started";
    return { name: text.replace(/^-/, ""), down: text.startsWith("-") };
  }

  /** Change the query; from the first page, unless a page is chosen. */
  set(values) {
    for (const [name, value] of Object.entries({ page: "", ...values })) {
      if (value) this.query.set(name, value);
      else this.query.delete(name);
    }
    this.ask();
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.set({ text: this.text.value.trim() }), 200);
  }

  /** By another column first from its best or newest end, by the same one the other way round. */
  sortBy(name) {
    const { name: now, down } = this.sort;
    this.set({ sort: name === now ? `${down ? "" : "-"}${name}` : `${["name", "loss", "state", "preset", "dag", "user"].includes(name) ? "" : "-"}${name}` });
  }

  toggle(name) {
    if (!this.columns.delete(name)) this.columns.add(name);
    kept("localStorage", KEPT, [...this.columns]);
    this.redraw();
  }

  choose(run) {
    const key = keyOf(run);
    const rest = this.chosen.filter((one) => one !== key);
    this.have(rest.length < this.chosen.length ? rest : [...rest, key]);
  }

  have(keys) {
    this.query.delete("run");
    keys.forEach((one) => this.query.append("run", one));
    this.keep();
    this.redraw();
  }

  /** The rows in sight, with the columns that are shown. */
  saveRows() {
    const columns = COLUMNS.filter(([name]) => this.columns.has(name));
    saveTable("runs", [["DAG", "run", "name", ...columns.map(([, title]) => title)],
      ...this.data.runs.map((run) => [run.dag_id, run.run_id, run.note.name, ...columns.map(([, , cell, , known, plain]) =>
        !run.read && !known ? "" : plain ? plain(run) : [...h("i", {}, cell(run)).childNodes].map((part) => part.textContent).join(" "))])]);
  }

  /** The arrow keys go to the same control of the next run. */
  key(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const control = event.target.dataset?.control;
    if (!step || !control) return;
    let body = event.target.closest("tbody")[step];
    while (body && body.tagName !== "TBODY") body = body[step];
    event.preventDefault();
    body?.querySelector(`[data-control=${control}]`)?.focus();
  }

  update(data) {
    this.data = data;
    this.redraw();
  }

  redraw() {
    const { data } = this;
    if (!data) return;
    this.shown.hidden = !data.total;
    fill(this.blank, !data.total, (none) => none && empty("No runs yet", "Start one. The preset “demo” takes a few minutes.", h("a", { class: "button first", href: "#/new" }, "New run")));
    for (const [name, node] of Object.entries(this.filters)) {
      const select = node.lastChild;
      const own = this.query.get(name) || "";
      const values = Object.keys(data.facets[name]);
      fill(select, [values, own], () => ["", ...new Set([...values, own].filter(Boolean))].map((value) => h("option", { value }, value || "any")));
      select.value = own;
      node.hidden = values.length < 2 && !own;
    }
    const columns = COLUMNS.filter(([name]) => this.columns.has(name));
    const { name: sorted, down } = this.sort;
    this.sorting.value = sorted;
    fill(this.turn, down, () => [h("span", { "aria-hidden": "true" }, down ? "↓" : "↑"), h("span", { class: "hidden" }, down ? "Descending" : "Ascending")]);
    const held = this.head.contains(document.activeElement) ? document.activeElement.dataset.sort : null;
    fill(this.head, [columns.map(([name]) => name), sorted, down], () => [["name", "Run"], ...columns].map(([name, title]) => h("th", { scope: "col", class: `is-${name}`, "aria-sort": name === sorted ? (down ? "descending" : "ascending") : null },
      UNSORTED.includes(name) ? title : h("button", { type: "button", class: "sort", "data-sort": name, on: { click: () => this.sortBy(name) } }, title, h("span", { "aria-hidden": "true" }, name === sorted ? (down ? " ↓" : " ↑") : "")))));
    if (held) this.head.querySelector(`[data-sort=${held}]`)?.focus();
    this.draw(data.runs, columns);
    const first = data.page * data.page_size;
    fill(this.said, [data.total, data.found, data.unread], () => `${data.found === data.total ? counted(data.total, "run") : `${count(data.found)} of ${counted(data.total, "run")}`}${
      data.unread ? `. ${counted(data.unread, "run")} ${data.unread === 1 ? "is" : "are"} still being read` : ""}`);
    fill(this.nothing, !data.found, (none) => none && empty("No run is like this", data.unread ? "Some runs are still being read." : "Change what you search for.",
      h("button", { type: "button", on: { click: () => { this.text.value = ""; this.set({ text: "", ...Object.fromEntries(Object.keys(FILTERS).map((name) => [name, ""])) }); } } }, "Show all runs")));
    this.scroll.hidden = !data.found;
    fill(this.unlike, data.unlike, (text) => text && h("p", { class: "note" }, text));
    const keys = this.chosen;
    fill(this.comparing, keys, () => keys.length && [
      keys.length > 1 ? h("a", { class: "button first", href: `#/compare?${new URLSearchParams(keys.map((key) => ["run", key]))}` }, `Compare ${keys.length} runs`) : h("span", {}, "Choose another run to compare"),
      h("button", { type: "button", on: { click: () => this.have([]) } }, "None")]);
    fill(this.pages, [data.page, data.found, data.page_size], () => data.found > data.page_size && [
      h("button", { type: "button", disabled: !data.page, on: { click: () => this.turnTo(data.page - 1) } }, "Previous"),
      h("span", {}, `${count(first + 1)} to ${count(Math.min(first + data.page_size, data.found))} of ${count(data.found)}`),
      h("button", { type: "button", disabled: first + data.page_size >= data.found, on: { click: () => this.turnTo(data.page + 1) } }, "Next")]);
  }

  turnTo(page) {
    this.set({ page: page ? String(page) : "" });
    this.node.scrollIntoView();
  }

  draw(runs, columns) {
    const rows = new Map(runs.map((run) => [keyOf(run), this.rows.get(keyOf(run)) || new Row(this, run)]));
    runs.forEach((run) => rows.get(keyOf(run)).update(run, columns, this.data.may_note.includes(run.dag_id)));
    const nodes = [...rows.values()].map((row) => row.node);
    const now = [...this.table.tBodies];
    // A row that is moved loses the focus.
    if (nodes.length !== now.length || nodes.some((node, index) => node !== now[index])) {
      const held = this.table.contains(document.activeElement) ? document.activeElement : null;
      now.forEach((node) => node.remove());
      this.table.append(...nodes);
      if (held && held !== document.activeElement) held.focus();
    }
    this.rows = rows;
  }
}

export const runs = {
  title: "Runs",
  alone: true,
  address: ({ query }) => {
    const asked = new URLSearchParams(query);
    asked.delete("run");
    if (!/^\d{1,9}$/.test(asked.get("page"))) asked.delete("page"); // A link can have anything.
    return `data/runs?${asked}`;
  },
  make(context) {
    const made = new Runs(context);
    return { node: made.node, update: (data) => made.update(data) };
  },
};
