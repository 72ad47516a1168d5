// Requests to the page's server and to Airflow's API, as the signed-in user.
import { airflow, h, out } from "./dom.js";

/** What went wrong: what, where, and what to do; the status of the answer, if there was one. */
class Fault extends Error {
  constructor(values, status) {
    super([values.what, values.do].filter(Boolean).join(". "));
    Object.assign(this, values, { status });
  }
}

/** What the server answers. With a body, it is sent as JSON. Throws a `Fault`. */
export async function ask(address, body, { signal, ...options } = {}) {
  let response;
  try {
    const sent = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    response = await fetch(address, { credentials: "same-origin", signal, ...sent, ...options });
  } catch (error) {
    if (signal?.aborted && signal.reason !== "late") throw error;
    throw new Fault({ what: "Airflow does not answer", where: window.location.host, do: signal ? "The page retries automatically" : "Try again" });
  }
  const values = await response.json().catch(() => ({}));
  if (!response.ok) {
    const what = values.what || (typeof values.detail === "string" && values.detail) || `the server answered ${response.status}`;
    throw new Fault({ what, where: values.where, do: values.do }, response.status);
  }
  return values;
}

/** Airflow starts a run of a DAG, if the user may. */
export async function trigger(dag_id, conf) {
  const made = await ask(airflow(`api/v2/dags/${dag_id}/dagRuns`), { logical_date: null, conf });
  return { dag_id, run_id: made.dag_run_id };
}

/** A link to the sign-in, which then leads to what is shown now. */
export const signIn = (properties) => out(airflow(`api/v2/auth/login?${new URLSearchParams({ next: window.location.href })}`), "Sign in", properties);

/** An error beside what one has typed. A sign-in in another window leaves that as it is. */
export const explained = (title, error) => error.status === 401
  ? [h("span", {}, `${title}: you are signed out. `), signIn({ target: "_blank" })] : [`${title}: ${error.message}`];
