// What became of the parts of a run, and why: for the list of runs, the banner, and views with nothing to show.
import { empty, h, out, runAddress } from "./dom.js";

const SIGNS = { done: "✓", failed: "×", running: "●", skipped: "↷", waiting: "○", "not reached": "○" };

export const hasEnded = (run) => run.state === "success" || run.state === "failed";

export const partOf = (run, name) => (run?.way || []).find((part) => part.name === name);

/** The address of a task's log in Airflow. */
export function logAddress(run, { task, map_index: index }) {
  const mapped = index >= 0 ? `/mapped/${index}` : "";
  return `${runAddress(run)}/tasks/${task}${mapped}`;
}

const logLink = (run, reason) => out(logAddress(run, reason), `Log of ${reason.task}`);

export const wayOf = (run) => h("ol", { class: "way", "aria-label": "Parts" }, run.way.map(({ name, state }) =>
  h("li", { class: state.replace(" ", "-") }, h("span", { "aria-hidden": "true" }, SIGNS[state]), name, h("span", { class: "hidden" }, `: ${state}`))));

/** The same in little room: a sign for each part. */
export const signsOf = (run) => h("ol", { class: "way signs", "aria-label": "Parts" }, run.way.map(({ name, state }) =>
  h("li", { class: state.replace(" ", "-"), title: `${name}: ${state}` }, h("span", { "aria-hidden": "true" }, SIGNS[state]), h("span", { class: "hidden" }, `${name}: ${state}`))));

/** Why the run failed: what, where, what to do, and the log. Nothing for a run without a failed task. */
export function failureOf(run) {
  const part = (run?.way || []).find((one) => one.state === "failed");
  if (!part) return null;
  const { what, where, do: advice, task } = part.reason;
  return [h("strong", {}, `${task} failed: ${what}`), where ? h("code", {}, where) : null, advice ? h("span", {}, advice) : null, logLink(run, part.reason)];
}

/** Why the rest was not needed: the words of the tasks that were skipped, or that made Airflow skip others. */
export const skipsOf = (run) => [...new Set(run.way.map((part) => (part.state === "failed" ? null : part.reason?.what)).filter(Boolean))];

/** What the run waits for, as a sentence: "Waits for a TPU, place 2 of 3". */
export const waitsOf = (run) => (run?.waits ? run.waits[0].toUpperCase() + run.waits.slice(1) : null);

/**
 * A view with nothing to show, by what became of the part of the run that makes it.
 * `waiting` is [title, text] while the part can still make it, `trouble` what is wrong with the files.
 */
export function nothingOf(run, name, waiting, trouble = null) {
  const part = partOf(run, name);
  const reason = part?.reason;
  if (part?.state === "failed") return empty(`Failed: ${reason.what}`, [reason.where, reason.do].filter(Boolean).join(". "), logLink(run, reason));
  if (part?.state === "not reached") {
    const cause = partOf(run, part.because)?.reason;
    return empty("Not started", cause ? `${cause.task} failed: ${cause.what}` : "The run ended before it.", cause ? logLink(run, cause) : null);
  }
  if (part?.state === "skipped") return empty("Skipped", reason?.what || "The run did not need this part.");
  if (part?.state === "done" && trouble) return empty("This cannot be shown", [trouble.what, trouble.where].filter(Boolean).join(": "));
  if (part?.state === "done") return empty("Nothing is left to show", "This part of the run is done, but its files are neither in the workspace nor in the bucket.");
  return empty(...waiting);
}
