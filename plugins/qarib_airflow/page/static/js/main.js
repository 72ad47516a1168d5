// Selects the view and the run, and refreshes the view.
import { ask, signIn } from "./parts/ask.js";
import { addressOf, airflow, badge, empty, faultOf, fill, h, out, runAddress, runQuery } from "./parts/dom.js";
import { compare } from "./views/compare.js";
import { corpus } from "./views/corpus.js";
import { lineage } from "./views/lineage.js";
import { model } from "./views/model.js";
import { newRun } from "./views/new-run.js";
import { runs } from "./views/runs.js";
import { shards } from "./views/shards.js";
import { tasks } from "./views/tasks.js";
import { training } from "./views/training.js";
import { failureOf, partOf, skipsOf, waitsOf } from "./parts/way.js";

// A view has: title, make(context) → {node, update(data)}, address(place) of its data if they are not those of the run,
// `alone` if it shows no run, `still` if its data do not change, and `apart` if it has a tab only while it is shown. Where
// the address is null it has no data. It may change `context.query`, then call `context.ask()`, or only `context.keep()` its address.
const VIEWS = { runs, compare, lineage, new: newRun, shards, corpus, training, tasks, model };
const AT_WORK_SECONDS = 3;
const AT_REST_SECONDS = 10;
const REQUEST_SECONDS = 60;

const view = document.getElementById("view");
const tabs = document.getElementById("tabs");
const runLine = document.getElementById("run");
const notices = document.getElementById("notices");
let shown = null; // The current place, its view, and its timer.

/** The view and the run in the address. Links from Airflow have the run in the query. */
function place() {
  const [name, query] = window.location.hash.replace(/^#\/?/, "").split("?");
  const values = new URLSearchParams(query || window.location.search);
  const run = values.get("run_id") ? { dag_id: values.get("dag_id") || "qarib_pretrain", run_id: values.get("run_id") } : null;
  return { name: Object.hasOwn(VIEWS, name) ? name : run ? "" : "runs", run, query: values, again: values.has("again") };
}

async function show() {
  const wanted = place();
  if (shown) {
    shown.stop.abort();
    clearTimeout(shown.timer);
  }
  const own = { ...wanted, stop: new AbortController(), timer: 0, node: null };
  shown = own;
  notice(null);
  view.replaceChildren(h("div", { class: "loading", role: "status" }, h("span", { class: "hidden" }, "Loading"),
    h("i"), h("i"), h("i")));
  view.setAttribute("aria-busy", "true");
  drawTabs(own);
  await refresh(own);
}

/** Have what a view's query is now in the address. */
function keep(own) {
  if (own === shown) window.history.replaceState(null, "", `#/${own.name}?${own.query}`);
}

/** The same, and ask at once for its data. */
function askAgain(own) {
  if (own !== shown) return;
  keep(own);
  clearTimeout(own.timer);
  own.stop.abort();
  own.stop = new AbortController();
  view.setAttribute("aria-busy", "true");
  refresh(own);
}

async function refresh(own) {
  const { stop } = own;
  let seconds = AT_REST_SECONDS;
  const timer = setTimeout(() => stop.abort("late"), REQUEST_SECONDS * 1000);
  try {
    const alone = VIEWS[own.name]?.alone;
    if (!alone) {
      own.record = (await ask(`data/run${own.run ? `?${runQuery(own.run)}` : ""}`, null, stop)).run; // Or else the newest.
      if (own.record && !own.name) own.name = own.record.training || ["running", "done"].includes(partOf(own.record, "training")?.state) ? "training" : "shards";
    }
    drawTabs(own);
    const kind = VIEWS[own.name || "shards"];
    if (!alone && !own.record) {
      view.replaceChildren(noRun(own.run));
      own.node = null;
    } else {
      const address = kind.address ? kind.address(own) : `data/${own.name || "shards"}?${runQuery(own.record)}`;
      const data = address ? await ask(address, null, stop) : {};
      if (own !== shown || stop !== own.stop) return;
      if (!own.node) {
        own.made = kind.make({ record: own.record, run: own.run, query: own.query, ask: () => askAgain(own), keep: () => keep(own) });
        own.node = own.made.node;
        view.replaceChildren(own.node);
      }
      own.made.update(data, own.record);
      own.trouble = data.trouble || own.record?.trouble;
      notice(own.trouble, alone ? null : own.record);
      own.seconds = data.again_in;
    }
    const atWork = own.record ? own.record.state === "running" || own.record.state === "queued" : true;
    seconds = own.seconds || (atWork || own.trouble ? AT_WORK_SECONDS : AT_REST_SECONDS);
    view.dataset.state = "ready";
  } catch (error) {
    if (own !== shown || stop !== own.stop || (stop.signal.aborted && stop.signal.reason !== "late")) return;
    if (stop.signal.aborted) own.stop = new AbortController();
    const fault = error.what ? error : { what: "cannot draw this view", where: String(error), do: "Reload the page" };
    if (!error.what) console.error(error);
    if (!own.node) view.replaceChildren(failure(fault));
    notice(fault);
    view.dataset.state = "failed";
    seconds = AT_WORK_SECONDS;
    if (fault.status === 401 || fault.status === 403) { // Maybe one signs in in another window.
      document.addEventListener("visibilitychange", () => own === shown && again(own), { once: true });
      return;
    }
  } finally {
    clearTimeout(timer);
    if (own === shown && (stop === own.stop || stop.signal.reason === "late")) view.setAttribute("aria-busy", "false");
  }
  if (own === shown && !(own.node && VIEWS[own.name]?.still)) own.timer = setTimeout(() => again(own), seconds * 1000);
}

/** Do not refresh a hidden page until it is visible again. */
function again(own) {
  if (!document.hidden) refresh(own);
  else document.addEventListener("visibilitychange", () => own === shown && again(own), { once: true });
}

function drawTabs(own) {
  const run = own.record || own.run;
  fill(tabs, [own.name, run && [run.dag_id, run.run_id]], () => Object.entries(VIEWS).filter(([name, kind]) => !kind.apart || name === own.name).map(([name, kind]) =>
    h("li", {}, h("a", { href: addressOf(name, run), "aria-current": name === own.name ? "page" : null },
      kind.title))));
  const one = VIEWS[own.name]?.alone ? null : own.record;
  // On a phone, Airflow shows a part only of a run's tab.
  const cut = window.parent !== window && window.parent.innerWidth < window.innerWidth && window.location.href;
  fill(runLine, [one && [one.run_id, one.state], cut], () => one
    ? [cut ? out(cut, "Full page", { class: "button" }) : null, badge(one.state), h("span", {}, one.preset || one.dag_id), out(runAddress(one), one.run_id, { class: "run-id" })]
    : [h("span", { class: "faint" }, "pre-training an Arabic BERT")]);
  // It is right of what is in sight at first: Airflow's own part scrolls to it, and back.
  if (cut && one && !tabs.dataset.seen) {
    tabs.dataset.seen = "yes";
    window.frameElement.scrollIntoView({ block: "nearest", inline: "start" });
  }
}

/** Show an error, what the run waits for, and why it failed or skipped parts, above a view that shows the rest. */
function notice(fault, run = null) {
  const failure = failureOf(run);
  const skips = run?.way ? skipsOf(run) : [];
  const waits = waitsOf(run);
  fill(notices, [fault || null, (failure || skips.length) && run.way, waits], () => [
    failure ? h("div", { class: "notice failure" }, failure) : null,
    [waits, ...skips].filter(Boolean).map((text) => h("div", { class: "notice" }, text)),
    fault ? faultOf(fault, fault.status === 401 ? signIn() : null) : null]);
}

function failure(fault) {
  if (fault.status === 401) {
    return empty("You are signed out", "Your session has ended. After the sign-in, this view opens again.", signIn({ class: "button first" }));
  }
  return empty("This view is not available", [fault.what, fault.do].filter(Boolean).join(". ") + ".");
}

const noRun = (run) => run
  ? empty("Not a QARiB run", "This page shows runs of the DAGs qarib_pretrain and qarib_retrain.",
    h("a", { class: "button", href: "#/runs" }, "All runs"))
  : empty("No runs yet", "Trigger the DAG qarib_pretrain. The preset “demo” takes a few minutes.",
    out(airflow("dags/qarib_pretrain"), "Open the DAG", { class: "button" }));

window.addEventListener("hashchange", show);
show();
