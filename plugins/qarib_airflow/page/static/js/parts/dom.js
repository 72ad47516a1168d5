// Elements, figures, and addresses. The page inserts text only as text, never as HTML.

/** Create an element. Children that are strings become text; null and false are skipped. */
export const h = (tag, properties = {}, ...children) => made(document.createElement(tag), properties, children);

/** The same in a drawing. */
export const svg = (tag, properties = {}, ...children) => made(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (name === "width" && element instanceof HTMLElement) {
      element.style.setProperty("--share", String(value));
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(4).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const drawn = new WeakMap();

/** Fill a node again if its data has changed; otherwise focus and selection stay. Open details always stay open. */
export function fill(node, data, render) {
  const key = JSON.stringify(data);
  if (drawn.get(node) === key) return;
  drawn.set(node, key);
  const unfolded = [...node.querySelectorAll("details")].map((one) => one.open);
  node.replaceChildren(...[render(data)].flat(3).filter(Boolean));
  node.querySelectorAll("details").forEach((one, index) => { one.open = unfolded[index] ?? one.open; });
}

const formats = new Map();
/** Numbers in English, with at most so many digits after the point. */
function numbers(digits, notation = "standard") {
  const key = `${notation}${digits}`;
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat("en", { notation, maximumFractionDigits: digits }));
  return formats.get(key);
}

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// `more` is a number of digits beyond the usual ones: see `moreFor`.

/** 27,004, or a dash for an unknown value. */
export const count = (value, more = 0) => (isNumber(value) ? numbers(more).format(value) : "–");
/** 1 shard, 1,172 shards. */
export const counted = (value, unit) => `${count(value)} ${unit}${value === 1 ? "" : "s"}`;
/** 1.2M, where space is limited; 0.4, which is not 0. */
export function short(value, more = 0) {
  if (!isNumber(value)) return "–";
  if (Math.abs(value) < 10) return String(Number(value.toPrecision(2 + more)));
  return Math.abs(value) < 9_999.5 ? numbers(more).format(value) : numbers(1 + more, "compact").format(value);
}
export const decimal = (value, digits = 3) => (isNumber(value) ? value.toFixed(digits) : "–");

/** 12.3%. What is neither nothing nor all does not look like it: <0.1%, >99.9%. */
export function percent(value, digits = 1) {
  if (!isNumber(value)) return "–";
  const [text, least] = [(100 * value).toFixed(digits), 10 ** -digits];
  if (value > 0 && Number(text) === 0) return `<${least.toFixed(digits)}%`;
  return value < 1 && Number(text) === 100 ? `>${(100 - least).toFixed(digits)}%` : `${text}%`;
}

export function money(value, more = 0) {
  if (!isNumber(value)) return "–";
  const digits = 2 + more;
  const least = 10 ** -digits;
  if (value > 0 && value < least / 2) return `<$${least.toFixed(digits)}`;
  return `$${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function bytes(value, more = 0) {
  if (!isNumber(value)) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size.toFixed(unit ? (size >= 99.95 ? more : 1 + more) : 0)} ${units[unit]}`;
}

/** How many more digits it takes, of at most six, for figures that differ to be written differently. */
export function moreFor(values, format) {
  const known = [...new Set(values.filter(isNumber))];
  let more = 0;
  while (more < 6 && new Set(known.map((value) => format(value, more))).size < known.length) more += 1;
  return more;
}

/** A figure, the one before it, and how far they are apart: "" if that is not known, or nothing. */
export function against(own, before, format) {
  const more = moreFor([own, before], format);
  const texts = [format(own, more), format(before, more)];
  const known = isNumber(own) && isNumber(before) && texts[0] !== texts[1];
  return [...texts, known ? format(Math.abs(own - before), more) : ""];
}

export function apart(values, format) {
  const more = moreFor(values, format);
  return values.map((value) => format(value, more));
}

/** 3 s, 4 min, 2 h 5 min, 3 d 4 h. */
export function duration(seconds, more = 0) {
  if (!isNumber(seconds)) return "–";
  if (more) return `${count(seconds, more - 1)} s`;
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A time with its zone: the one that Airflow shows times in, or else the browser's. */
export function when(stamp) {
  const time = stamp ? new Date(stamp) : null;
  if (!time || Number.isNaN(time.getTime())) return "–";
  const style = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
  try {
    return time.toLocaleString("en-GB", { ...style, timeZone: kept("localStorage", "timezone") || undefined });
  } catch { // No such zone.
    return time.toLocaleString("en-GB", style);
  }
}

/** What the browser keeps, as JSON: null if there is nothing, or no storage. With a value, it is kept from now on. */
export function kept(storage, name, value) {
  try {
    if (value !== undefined) window[storage].setItem(name, JSON.stringify(value));
    return JSON.parse(window[storage].getItem(name));
  } catch {
    return null;
  }
}

/** The page's address is <Airflow>/qarib/. */
const AIRFLOW = new URL("..", new URL(".", window.location.href.split(/[?#]/)[0]));

export const airflow = (path) => new URL(path, AIRFLOW).href;

export const runAddress = (run) =>
  airflow(`dags/${encodeURIComponent(run.dag_id)}/runs/${encodeURIComponent(run.run_id)}`);

export const runQuery = ({ dag_id, run_id }) => String(new URLSearchParams({ dag_id, run_id }));

/** The address of a view, of a run if there is one. */
export const addressOf = (name, run) => `#/${name}${run ? `?${runQuery(run)}` : ""}`;

/** A link that opens outside the frame in which Airflow shows this page. */
export const out = (href, text, properties = {}) => h("a", { href, "data-out": true, ...properties }, text);

// The frame may not navigate the window around it, but that window's own links may.
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[data-out]") : null;
  if (!link || window.parent === window || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const host = window.parent.document;
  const twin = host.createElement("a");
  twin.href = link.href;
  twin.target = link.target || "_top";
  twin.rel = "noopener";
  host.body.append(twin);
  twin.click();
  twin.remove();
});

/** Figures with their names. Each is [name, figure] or [name, figure, note]. */
export const tiles = (items) =>
  h("dl", { class: "tiles" }, items.filter(Boolean).map(([name, figure, note]) =>
    h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, figure, note ? h("span", { class: "note" }, note) : null))));

/** A table; figures are right-aligned. */
export function table(caption, head, rows, properties = {}) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", properties, h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, index) =>
        index ? h("td", {}, cell) : h("th", { scope: "row" }, cell)))))));
}

/** Horizontal bars: [name, figure] each. */
export function bars(caption, items) {
  const most = Math.max(...items.map(([, value]) => value), 1);
  return h("table", { class: "bars" }, h("caption", {}, caption),
    h("tbody", {}, items.map(([name, value]) => h("tr", {},
      h("th", { scope: "row" }, name), h("td", { class: "figure" }, count(value)),
      h("td", { class: "bar", "aria-hidden": "true" }, h("i", { width: value / most }))))));
}

export const card = (title, ...children) => h("section", { class: "card" }, title ? h("h2", {}, title) : null, children);

/** An input with its label; `shown` if it is inside another element. */
export const labelled = (title, input, shown = input) => h("div", { class: "field" }, h("label", { for: input.id }, title), shown);

export function check(title, checked, changed) {
  const box = h("input", { type: "checkbox", on: { change: () => changed(box.checked) } });
  box.checked = checked;
  return h("label", {}, box, ` ${title}`);
}

/** What is wrong, where, and what to do. */
export const faultOf = (fault, ...more) => h("div", { class: "notice", role: "note" }, h("strong", {}, fault.what),
  fault.where ? h("code", {}, fault.where) : null, fault.do ? h("span", {}, fault.do) : null, more);

/** A note for a view with nothing to show yet: a title and the reason. */
export const empty = (title, text, ...more) =>
  h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, text), more);

const SIGNS = { success: "✓", failed: "×", running: "●", queued: "○" };

export const badge = (state, text = state) =>
  h("span", { class: `badge ${state}` }, h("span", { "aria-hidden": "true" }, SIGNS[state] || "○"), ` ${text || "none"}`);

/** A progress bar with a name for screen readers. */
export const progress = (share, name) =>
  h("div", { class: "progress", role: "progressbar", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(100 * Math.min(1, Math.max(0, share || 0))) },
  h("i", { width: Math.min(1, Math.max(0, share || 0)) }));
