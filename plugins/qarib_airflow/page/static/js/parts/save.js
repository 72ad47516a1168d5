// Files to download: of tables as CSV, of charts as CSV, PNG, and SVG.
import { h } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const FONT = "12px system-ui, sans-serif";
const ROOM = { title: 28, line: 18, swatch: 18 };

/** Airflow's frame around this page may forbid downloads: the window around it has them. */
function save(name, content) {
  const host = (window.parent === window ? window : window.parent).document;
  const link = host.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  host.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A text that a spreadsheet would take for a formula begins with an apostrophe. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@＝＋－＠\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const saveTable = (name, rows) =>
  save(`${name}.csv`, new Blob([`\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`], { type: "text/csv" }));

const shownOf = (u) => u.series.map((one, index) => ({ ...one, index })).slice(1).filter((one) => one.show);
const named = (series) => series.filter((one) => one.class !== "edge");
const colourOf = (one) => (typeof one.stroke === "function" ? one.stroke(null, one.index) : one.stroke);
const slug = (title) => title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-");

/** The places of the names below a chart: [series, x, y]. */
function legend(series, width, top, measure) {
  let [x, y] = [10, top];
  return series.map((one) => {
    const size = ROOM.swatch + measure(one.label) + 14;
    if (x > 10 && x + size > width) [x, y] = [10, y + ROOM.line];
    const place = [one, x, y];
    x += size;
    return place;
  });
}

function saveImage({ title, plot: u }, colours) {
  const ratio = u.ctx.canvas.width / u.width;
  const canvas = h("canvas");
  const ctx = canvas.getContext("2d");
  ctx.font = FONT;
  const names = legend(named(shownOf(u)), u.width, ROOM.title + u.height + 14, (text) => ctx.measureText(text).width);
  canvas.width = u.ctx.canvas.width;
  canvas.height = ((names.at(-1)?.[2] || 0) + 14) * ratio;
  ctx.fillStyle = colours.surface;
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(u.ctx.canvas, 0, ROOM.title * ratio);
  ctx.scale(ratio, ratio);
  ctx.fillStyle = colours.text;
  ctx.font = `bold ${FONT}`;
  ctx.fillText(title, 10, 18);
  ctx.font = FONT;
  for (const [one, x, y] of names) {
    ctx.fillStyle = colourOf(one);
    ctx.fillRect(x, y - 9, 10, 10);
    ctx.fillStyle = colours.text;
    ctx.fillText(one.label, x + ROOM.swatch, y);
  }
  canvas.toBlob((blob) => save(`${slug(title)}.png`, blob));
}

function saveDrawing({ title, plot: u }, colours) {
  const make = (name, properties, ...children) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const ratio = u.ctx.canvas.width / u.width;
  const [left, top] = [u.bbox.left / ratio, u.bbox.top / ratio + ROOM.title];
  const [width, height] = [u.bbox.width / ratio, u.bbox.height / ratio];
  const text = (x, y, words, anchor = "start") => make("text", { x, y, "text-anchor": anchor, fill: colours.text }, words);
  const measure = u.ctx.canvas.getContext("2d");
  const series = shownOf(u);
  const names = legend(named(series), u.width, ROOM.title + u.height + 14, (words) => measure.measureText(words).width / ratio);
  const axis = (index) => u.axes[index]._splits.map((at, number) => [at, u.axes[index]._values[number]]).filter(([at, words]) => at !== null && words);
  const lines = series.map((one) => {
    const points = u.data[0].map((x, at) => [x, u.data[one.index][at]]).filter(([, y]) => y !== null && y !== undefined)
      .map(([x, y]) => [left + u.valToPos(x, "x"), top + u.valToPos(y, "y")].map((place) => place.toFixed(1)));
    const dots = points.length === 1 || one.points?.size === 8;
    return dots ? points.map(([cx, cy]) => make("circle", { cx, cy, r: 3.5, fill: "none", stroke: colourOf(one), "stroke-width": 2 }))
      : [make("polyline", { points: points.join(" "), fill: "none", stroke: one.class === "edge" ? colours.line : colourOf(one), "stroke-width": one.width, ...(one.dash ? { "stroke-dasharray": one.dash.join(" ") } : {}) })];
  });
  const svg = make("svg", { xmlns: SVG, width: u.width, height: (names.at(-1)?.[2] || 0) + 14, font: FONT, "font-family": "system-ui, sans-serif", "font-size": 12 },
    make("title", {}, title), make("rect", { width: "100%", height: "100%", fill: colours.surface }), text(10, 18, title),
    make("clipPath", { id: "plot" }, make("rect", { x: left, y: top - 5, width: width + 5, height: height + 10 })),
    ...axis(0).map(([at, words]) => text(left + u.valToPos(at, "x"), top + height + 18, words, "middle")),
    ...axis(1).flatMap(([at, words]) => {
      const y = top + u.valToPos(at, "y");
      return [make("line", { x1: left, x2: left + width, y1: y, y2: y, stroke: colours.line }), text(left - 6, y + 4, words, "end")];
    }),
    make("g", { "clip-path": "url(#plot)" }, ...lines.flat()),
    ...names.flatMap(([one, x, y]) => [make("rect", { x, y: y - 9, width: 10, height: 10, fill: colourOf(one) }), text(x + ROOM.swatch, y, one.label)]));
  save(`${slug(title)}.svg`, new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
}

/** Buttons that download a chart: what it shows now. */
export function downloads(chart, colours) {
  const csv = () => {
    const { plot: u } = chart;
    const series = shownOf(u);
    saveTable(slug(chart.title), [[chart.x.name, ...series.map((one) => one.label)], ...u.data[0].map((x, at) => [x, ...series.map((one) => u.data[one.index][at])])]);
  };
  const button = (name, action) => h("button", { type: "button", on: { click: action } }, name);
  return h("details", { class: "download" }, h("summary", { "aria-label": `Download ${chart.title}` }, "↓"),
    h("div", { class: "row" }, button("CSV", csv), button("PNG", () => saveImage(chart, colours())), button("SVG", () => saveDrawing(chart, colours()))));
}
