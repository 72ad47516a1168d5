// A form for what people write about a run. Airflow keeps it as the run's note and checks the user's permission.
import { ask, explained } from "./ask.js";
import { airflow, h, labelled, runQuery } from "./dom.js";

const MOST = 1000; // characters, as Airflow has it
const TAG = /^[\p{L}\p{N}_-]*\p{L}[\p{L}\p{N}_-]*$/u;
const NAMES = { name: "name", tags: "tags", text: "note" };

/** The tags in what one types: words, with or without #. */
const tagsOf = (text) => [...new Set(text.split(/[\s,]+/).map((word) => word.replace(/^#+/, "")).filter(Boolean))];
const failureOf = ({ failure }, room) => (failure && room > 20 ? failure.slice(0, room) : "");
const partsOf = (note) => ({ name: note.name, tags: note.tags.join(" "), text: note.text });

/** The note of these parts, as the server divides it. */
const noteOf = ({ name, tags, text }) =>
  [name, ...(tags ? [tagsOf(tags).map((tag) => `#${tag}`).join(" ")] : []), ...(text ? [text] : [])].join("\n");

export class NoteForm {
  /** `saved` is called when Airflow has the note. */
  constructor(run, id, saved) {
    Object.assign(this, { run, saved });
    this.inputs = {
      name: h("input", { id: `${id}-name`, maxlength: 100, autocomplete: "off", dir: "auto" }),
      tags: h("input", { id: `${id}-tags`, maxlength: 300, autocomplete: "off", dir: "auto" }),
      text: h("textarea", { id: `${id}-text`, maxlength: MOST, rows: 3, dir: "auto" }),
    };
    this.status = h("p", { role: "status", class: "help" });
    this.form = h("form", { class: "fields", hidden: true, on: { submit: (event) => { event.preventDefault(); this.save(); } } },
      labelled("Name", this.inputs.name), labelled("Tags", this.inputs.tags, [this.inputs.tags, h("p", { class: "help" }, "Words, separated by spaces.")]), labelled("Note", this.inputs.text),
      h("div", { class: "row" }, h("button", { type: "submit", class: "first" }, "Save"), h("button", { type: "button", on: { click: () => this.close() } }, "Cancel")));
    this.button = h("button", { type: "button", on: { click: () => this.open() } }, "Edit name, tags, and note");
    this.node = h("div", { class: "stack note-form" }, h("div", { class: "row" }, this.button), this.form, this.status);
  }

  get address() {
    return `data/note?${runQuery(this.run)}`;
  }

  async open() {
    try {
      this.base = partsOf(await ask(this.address));
    } catch (error) {
      this.status.replaceChildren(...explained("Not read", error));
      return;
    }
    for (const [name, input] of Object.entries(this.inputs)) input.value = this.base[name];
    this.status.replaceChildren();
    this.form.hidden = false;
    this.button.hidden = true;
    this.inputs.name.focus();
  }

  close() {
    this.form.hidden = true;
    this.button.hidden = false;
    this.button.focus();
  }

  /** What others have written since is kept, part by part. */
  async save() {
    const own = Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, input.value.trim()]));
    own.tags = tagsOf(own.tags).join(" ");
    const wrong = tagsOf(own.tags).filter((tag) => !TAG.test(tag));
    if (wrong.length) return this.status.replaceChildren(`Not a tag, which is a word with a letter: ${wrong.join(", ")}`);
    try {
      const found = await ask(this.address);
      const now = partsOf(found);
      const clash = Object.keys(own).filter((name) => own[name] !== this.base[name] && now[name] !== this.base[name] && now[name] !== own[name]);
      for (const name of Object.keys(own)) if (own[name] === this.base[name]) own[name] = this.inputs[name].value = now[name];
      this.base = now;
      if (clash.length) return this.status.replaceChildren(`Another person has changed the ${clash.map((name) => `${NAMES[name]} to “${now[name]}”`).join(", the ")} meanwhile. Save again to replace it.`);
      let note = noteOf(own);
      if (note.length > MOST) return this.status.replaceChildren(`Too long: ${note.length} of ${MOST} characters.`);
      // Why the run failed stays at the end, as far as there is room.
      const failure = failureOf(found, MOST - note.length - 2);
      if (failure) note = note ? `${note}\n\n${failure}` : failure;
      const { dag_id: dag, run_id: id } = this.run;
      await ask(airflow(`api/v2/dags/${encodeURIComponent(dag)}/dagRuns/${encodeURIComponent(id)}`), { note }, { method: "PATCH" });
      this.close();
      this.status.replaceChildren("Saved.");
      this.saved();
    } catch (error) {
      this.status.replaceChildren(...explained("Not saved", error));
    }
    return null;
  }
}
