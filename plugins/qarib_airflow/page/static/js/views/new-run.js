// The view "New run": fields from the config classes, checked as one types, and the plan beside them.
import { ask, explained, trigger } from "../parts/ask.js";
import { addressOf, card, count, counted, fill, h, kept, labelled, money, out, runAddress, runQuery, table } from "../parts/dom.js";

const DAG = "qarib_pretrain";
const CHECK = "qarib_check";
const PAUSE = 250; // milliseconds after the last key

// As `qarib plan` and the advice write them; only what they would call nothing has more digits.
const number = (value) => value.toLocaleString("en", value < 0.05 ? { maximumSignificantDigits: 1 } : { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const span = ([low, high], form = number) => (form(low) === form(high) ? form(low) : `${form(low)} to ${form(high)}`);
const time = (hours) => (hours[1] < 1 ? `${span(hours.map((one) => 60 * one))} minutes` : `${span(hours)} hours`);
const label = (field) => field.title || field.name;

/** A box for a value that is text, or a choice. */
class Box {
  constructor(field, id, changed) {
    this.field = field;
    this.fault = h("p", { class: "fault", id: `${id}-fault`, role: "alert" });
    const common = { id, name: field.name, "aria-describedby": `${id}-help ${id}-fault` };
    if (Box.chosen(field)) {
      this.input = h("select", common, h("option", { value: "" }, ""), field.choices.map((one) => h("option", { value: one }, one)));
    } else if (field.kind === "list") {
      this.input = h("textarea", { ...common, rows: 2, spellcheck: "false" });
    } else {
      const list = field.choices.length ? `${id}-choices` : null;
      this.input = h("input", { ...common, type: "text", inputmode: field.kind === "number" ? "decimal" : null, autocomplete: "off",
        spellcheck: "false", dir: "auto", list });
      this.choices = list && h("datalist", { id: list }, field.choices.map((one) => h("option", { value: one })));
    }
    this.input.addEventListener("input", changed);
    const [first, ...more] = (field.help || "").split(/(?<=\.)\s/);
    this.node = h("div", { class: "field" }, h("label", { for: id }, label(field)), this.input, this.choices || null,
      h("p", { class: "help", id: `${id}-help` }, first, more.length ? h("span", { class: "more" }, ` ${more.join(" ")}`) : null),
      this.preset = h("p", { class: "help" }), this.fault);
  }

  static chosen(field) {
    return field.kind === "choice" || field.kind === "switch";
  }

  get value() {
    const text = this.input.value;
    if (this.field.kind !== "list") return text;
    // A sentence can have a comma; a name from a list has none.
    return text.split(this.field.choices.length ? /[\n,]/ : "\n").map((one) => one.trim()).filter(Boolean);
  }

  set value(value) {
    const text = Array.isArray(value) ? value.join("\n") : value === null || value === undefined ? "" : String(value);
    this.input.value = text;
  }

  get isSet() {
    return this.input.value.trim() !== "";
  }

  /** Show what an empty field means, and beside a value what the preset has. */
  hint(text, preset) {
    this.preset.replaceChildren(this.isSet && preset && preset !== this.input.value ? `In the preset: ${preset}` : "");
    if (Box.chosen(this.field)) this.input.options[0].textContent = text ? `(${text})` : "";
    else this.input.placeholder = text || "";
  }

  show(faults) {
    const own = faults.filter((one) => one.field === this.input.dataset.place || one.field.startsWith(`${this.input.dataset.place}.`));
    this.input.setAttribute("aria-invalid", String(own.length > 0));
    this.fault.replaceChildren(own.map((one) => one.what).join(". "));
    return own;
  }
}

/** A list of sources or tasks: a row each. */
class Rows {
  constructor(field, id, changed, preview) {
    Object.assign(this, { field, id, changed, preview, rows: [], made: 0 });
    this.list = h("ol", { class: "rows" });
    this.fault = h("p", { class: "fault", role: "alert" });
    this.empty = h("p", { class: "help" });
    this.node = h("fieldset", { class: "field wide" }, h("legend", {}, label(field)), this.empty, this.list,
      h("div", { class: "row" }, h("button", { type: "button", on: { click: () => { this.add({}).focus(); this.changed(); } } }, `Add to ${label(field).toLowerCase()}`)), this.fault);
  }

  add(values) {
    const id = `${this.id}-${(this.made += 1)}`;
    const row = { bytes: null, shown: h("div", { class: "preview" }) };
    const changed = () => { row.bytes = null; this.changed(); }; // The size was that of the earlier files.
    const boxes = this.field.fields.map((one) => new Box(one, `${id}-${one.name}`, changed));
    row.boxes = boxes;
    boxes.forEach((box) => { box.value = values[box.field.name]; box.hint(box.field.required ? (box.field.name === "name" ? "named after its file" : "") : box.field.default); });
    const [main, others] = [boxes.filter((box) => box.field.required), boxes.filter((box) => !box.field.required)];
    const remove = () => { this.rows.splice(this.rows.indexOf(row), 1); row.node.remove(); this.changed(); };
    row.node = h("li", {}, h("div", { class: "fields" }, main.map((box) => box.node)),
      h("details", { open: others.some((box) => box.isSet) }, h("summary", {}, "How it is read"), h("div", { class: "fields" }, others.map((box) => box.node))),
      h("div", { class: "row" }, this.preview ? h("button", { type: "button", on: { click: () => this.preview(this.rows.indexOf(row), row) } }, "Preview") : null,
        h("button", { type: "button", on: { click: remove } }, "Remove")), row.shown);
    this.rows.push(row);
    this.list.append(row.node);
    return main[main.length - 1].input;
  }

  get value() {
    return this.rows.map((row) => Object.fromEntries(row.boxes.filter((box) => box.isSet).map((box) => [box.field.name, box.value])))
      .filter((row) => Object.keys(row).length);
  }

  set value(rows) {
    this.rows = [];
    this.list.replaceChildren();
    for (const row of Array.isArray(rows) ? rows : []) this.add(row);
  }

  get isSet() {
    return this.value.length > 0;
  }

  hint(text) {
    this.empty.replaceChildren(text ? `Without any: ${text}.` : "");
  }

  show(faults) {
    // Rows without a value are not sent.
    const sent = this.rows.filter((row) => row.boxes.some((box) => box.isSet));
    const shown = new Set();
    this.rows.forEach((row) => row.boxes.forEach((box) => {
      box.input.dataset.place = `${this.field.name}.${sent.indexOf(row)}.${box.field.name}`;
      box.show(faults).forEach((one) => shown.add(one));
    }));
    const own = faults.filter((one) => one.field === this.field.name || one.field.startsWith(`${this.field.name}.`));
    this.fault.replaceChildren(own.filter((one) => !shown.has(one)).map((one) => one.what).join(". "));
    return own;
  }
}

/** What one types, also after one leaves the view or loads it again, in this window. */
const typed = (values) => kept("sessionStorage", "qarib.new", values);

class NewRun {
  constructor(context) {
    this.context = context;
    this.essentials = h("div", { class: "fields" });
    this.sections = h("div", { class: "stack" });
    this.search = h("input", { type: "search", id: "search", autocomplete: "off", placeholder: "batch, warm-up, zones …", on: { input: () => this.filter() } });
    this.plan = h("div", { class: "plan", "aria-live": "polite" });
    this.within = h("input", { id: "within", type: "text", inputmode: "decimal", autocomplete: "off", on: { input: () => this.changed() } });
    this.start = h("div", { class: "start" });
    this.status = h("p", { role: "status" });
    this.deployment = h("div", { class: "deployment" });
    this.checked = h("p", { role: "status" });
    // Enter in a field, such as the search, starts nothing.
    const submit = (event) => { event.preventDefault(); if (document.activeElement.tagName !== "INPUT") this.send(); };
    this.node = h("form", { class: "new-run", on: { submit } },
      h("div", { class: "stack" }, card("Essentials", this.essentials),
        h("section", { class: "card" }, h("h2", {}, "All settings"), labelled("Search", this.search), this.sections)),
      h("aside", { class: "stack", "aria-label": "Plan" }, card("", this.start, this.status, this.deployment, this.checked),
        card("Plan", labelled("Hours it may take", this.within), this.plan)));
    this.boxes = new Map();
    this.asked = 0;
  }

  update(data) {
    if (this.data) return; // What one types stays.
    this.data = data;
    const { query } = this.context;
    const given = query.has("again") ? data.again : typed();
    query.delete("again"); // From now on, what one types counts.
    this.context.keep();
    const sections = new Map();
    for (const field of data.fields) {
      const made = field.kind === "rows"
        ? new Rows(field, `new-${field.name}`, () => this.changed(), field.name === "sources" && data.may_start ? (at, row) => this.preview(at, row) : null)
        : new Box(field, `new-${field.name}`, () => this.changed());
      if (made.input) made.input.dataset.place = field.name;
      made.value = given?.[field.name];
      this.boxes.set(field.name, made);
      if (!field.section) { this.essentials.append(made.node); continue; }
      if (!sections.has(field.section)) sections.set(field.section, []);
      sections.get(field.section).push(made);
    }
    this.folds = [...sections].map(([title, boxes]) => {
      const set = h("span", { class: "faint" });
      const node = h("details", { open: boxes.some((box) => box.isSet) }, h("summary", {}, title, " ", set), h("div", { class: "fields" }, boxes.map((box) => box.node)));
      return { node, boxes, set };
    });
    this.sections.replaceChildren(...this.folds.map((fold) => fold.node));
    if (data.lost?.length) this.status.replaceChildren(`Not filled in, because this form cannot show it: ${data.lost.join(", ")}`);
    this.start.replaceChildren(h("div", { class: "row" }, data.may_start && h("button", { type: "submit", class: "first" }, "Start"),
      h("button", { type: "button", on: { click: () => this.clear() } }, "Empty all fields")),
    data.may_start ? "" : h("p", { class: "help" }, "You can plan a run here. To start one, ask an administrator for permission to trigger the DAG ", h("code", {}, DAG), "."));
    this.deployment.replaceChildren(...(data.may_check
      ? [h("button", { type: "button", on: { click: () => this.examine() } }, "Check the deployment"),
        h("p", { class: "help" }, "Credentials, roles, bucket, quota, network, and disk, where the Airflow workers run.")] : []));
    this.check();
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const fold of this.folds) {
      let some = false;
      for (const box of fold.boxes) {
        const text = `${box.field.name} ${label(box.field)} ${box.field.help}`.toLowerCase();
        box.node.hidden = !words.every((word) => text.includes(word));
        some ||= !box.node.hidden;
      }
      fold.node.hidden = !some;
      if (words.length) fold.node.open = some;
    }
  }

  clear() {
    for (const box of [...this.boxes.values(), this.within]) box.value = null;
    this.changed();
  }

  values() {
    return Object.fromEntries([...this.boxes].filter(([, box]) => box.isSet).map(([name, box]) => [name, box.value]));
  }

  changed() {
    clearTimeout(this.timer);
    this.ready(false);
    this.timer = setTimeout(() => this.check(), PAUSE);
  }

  async check() {
    const asked = (this.asked += 1);
    const sources = this.boxes.get("sources").rows;
    const text = sources.length && sources.every((row) => row.bytes) ? sources.reduce((sum, row) => sum + row.bytes, 0) : null;
    try {
      const values = this.values();
      typed(values);
      const answer = await ask("data/check", { values, text, within: this.within.value });
      if (asked === this.asked) this.show(answer);
    } catch (error) {
      if (asked !== this.asked) return;
      this.answer = null; // It was for what one typed before.
      fill(this.plan, [error.message], () => h("p", { class: "fault" }, explained("Not checked", error)));
    }
  }

  show(answer) {
    this.answer = answer;
    const placed = new Set();
    for (const box of this.boxes.values()) box.show(answer.faults).forEach((one) => placed.add(one));
    // While a value is wrong, nothing is known of the others: the last known ones of the preset stay.
    const preset = answer.preset ?? this.preset;
    if (Object.keys(answer.values).length) this.known = answer.values;
    else if (preset !== this.preset) this.known = {};
    this.preset = preset;
    const meant = { preset, workspace: this.data.deployment.workspace, ...this.known };
    for (const [name, box] of this.boxes) box.hint(meant[name] ?? box.field.presets[preset], box.field.presets[preset]);
    for (const fold of this.folds) {
      const set = fold.boxes.filter((box) => box.isSet).length;
      const wrong = fold.boxes.some((box) => box.node.querySelector("[aria-invalid=true]"));
      fold.set.replaceChildren(set ? `${set} changed` : "");
      if (wrong) fold.node.open = true;
    }
    const others = answer.faults.filter((one) => !placed.has(one));
    fill(this.plan, [answer.plan, answer.faults.length, others], () => [
      others.map((one) => h("p", { class: "fault" }, one.field && one.field !== "within" ? `${one.field}: ${one.what}` : one.what)),
      answer.faults.length ? h("p", {}, `${answer.faults.length} to correct.`) : null,
      answer.plan ? this.drawPlan(answer.plan)
        : answer.faults.length ? null : h("p", {}, "It trains on the Airflow worker's machine, which has no price."),
    ]);
    this.ready(!answer.faults.length);
  }

  ready(yes) {
    this.start.querySelector("[type=submit]")?.setAttribute("aria-disabled", String(!yes));
  }

  drawPlan(plan) {
    if (plan.trouble) return null; // A field has it.
    const { asked } = plan;
    const head = ["type", "batch", "steps/s", "hours", "spot", "on demand"];
    const line = (row) => [[row.accelerator_type, row.marks.length ? h("span", { class: "cell-note" }, row.marks.join(", ")) : null],
      count(row.batch), span(row.steps_per_second), span(row.hours),
      ...["spot", "on_demand"].map((one) => (row.prices[one] ? span(row.prices[one], money) : "–"))];
    return [
      plan.emulated ? h("p", {}, "The TPU is emulated, a process on this machine, and costs nothing. A real one:") : null,
      h("p", { class: "total" }, h("strong", {}, span(asked.cost, money)), `, ${time(asked.hours)}, ${span(asked.steps_per_second)} steps/s`),
      h("p", { class: plan.above_budget ? "fault" : "help" }, plan.above_budget ? "The upper end is above the budget. " : "",
        `${asked.accelerator_type}, ${asked.provisioning}, ${counted(asked.chips, "chip")} (${asked.price_source}). Calculated, without preemptions.`),
      table("Marked options", head, plan.rows.filter((row) => row.marks.length).map(line)),
      h("ul", { class: "advice" }, plan.advice.map((one) => h("li", {}, one))),
      h("details", {}, h("summary", {}, "All options"), table("All options", head, plan.rows.map(line))),
    ];
  }

  async preview(at, row) {
    const sent = this.boxes.get("sources").rows.slice(0, at).filter((one) => one.boxes.some((box) => box.isSet)).length;
    row.shown.replaceChildren(h("p", { role: "status" }, "Reading the beginning …"));
    try {
      const made = await ask("data/preview", { values: this.values(), number: sent });
      row.bytes = made.bytes;
      row.shown.replaceChildren(h("p", {}, made.title), made.warnings.map((one) => h("p", { class: "fault", dir: "auto" }, one)),
        h("div", { class: "lines", tabindex: "0", role: "region", "aria-label": "Preview" }, made.lines.map((one) => h("p", { dir: "auto" }, one))));
      this.changed();
    } catch (error) {
      row.shown.replaceChildren(h("p", { class: "fault", role: "alert" }, explained((error.status === 422 && error.where) || "No preview", error)));
    }
  }

  /** Airflow starts the check, if the user may; its log has a line for each part. */
  async examine() {
    this.checked.replaceChildren("Sending the request to Airflow …");
    try {
      const run = await trigger(CHECK, {});
      this.checked.replaceChildren("Started: ", out(runAddress(run), "its run in Airflow"), ". The log of ", h("code", {}, "check"), " has the result.");
    } catch (error) {
      this.checked.replaceChildren(...explained("Not started", error));
    }
  }

  /** Airflow starts the run and checks the user's permission to trigger it. */
  async send() {
    if (this.sending) return; // A double click.
    this.sending = true;
    clearTimeout(this.timer);
    await this.check();
    if (this.answer && !this.answer.faults.length) await this.begin();
    else this.node.querySelector("[aria-invalid=true]")?.focus();
    this.sending = false;
  }

  async begin() {
    this.status.replaceChildren("Sending the request to Airflow …");
    try {
      const run = await trigger(DAG, this.answer.conf);
      typed(null);
      this.status.replaceChildren("Started: ", h("a", { href: addressOf("shards", run) }, run.run_id), " ", out(runAddress(run), "in Airflow"));
    } catch (error) {
      this.status.replaceChildren(...explained("Not started", error));
    }
  }
}

export const newRun = {
  title: "New run",
  alone: true,
  still: true,
  address: ({ again, run }) => `data/form${again && run ? `?${runQuery(run)}` : ""}`,
  make(context) {
    const made = new NewRun(context);
    return { node: made.node, update: (data) => made.update(data) };
  },
};
