// What each dataset and model was made from: a graph over all runs, drawn as SVG, and the same as a table.
import { addressOf, airflow, card, count, empty, fill, h, out, runAddress, svg, table } from "../parts/dom.js";

const WIDTH = 210;
const HEIGHT = 46;
const GAP = 90; // between two columns
const ROW = 60;
const TOP = 34;
const EDGE = 46; // left of the first column, for arcs
const NAMES = { source: "Source", dataset: "Dataset", model: "Model", promoted: "Promoted" };
const HEADS = { source: "Sources", dataset: "Datasets", model: "Models", promoted: "Promoted" };

const left = (node) => EDGE + node.column * (WIDTH + GAP);
const middle = (node) => TOP + node.row * ROW + HEIGHT / 2;

/** A line from a node to what was made from it; an arc beside the column, if both are in one. */
function line(from, to) {
  const [y, end] = [middle(from), middle(to)];
  if (from.column !== to.column) {
    const [x, last] = [left(from) + WIDTH, left(to) - 3];
    return `M${x},${y} C${x + GAP / 2},${y} ${last - GAP / 2},${end} ${last},${end}`;
  }
  const side = to.kind === "model" ? 1 : -1;
  const x = left(from) + (side > 0 ? WIDTH : 0);
  const far = x + side * Math.min(GAP - 30, 26 + 6 * Math.abs(from.row - to.row));
  const down = Math.sign(end - y) * 12; // Apart from the lines to and from other columns.
  return `M${x},${y + down} C${far},${y + down} ${far},${end - down} ${x + 3 * side},${end - down}`;
}

/** The numbers of the nodes that a node was made from, and of those made from it, at any distance. */
function related(number, edges) {
  const found = new Set([number]);
  for (const [own, next] of [[1, 0], [0, 1]]) {
    const todo = [number];
    while (todo.length) {
      const at = todo.pop();
      for (const edge of edges) if (edge[own] === at && !found.has(edge[next])) todo.push(edge[next]), found.add(edge[next]);
    }
  }
  return found;
}

const origins = (number, { nodes, edges }) => edges.filter(([, to]) => to === number)
  .map(([from, , relation]) => [relation === "is" ? "model" : relation, nodes[from].name]);

function drawing(data, run) {
  const { nodes, edges } = data;
  const own = (node) => run && node.runs.some((one) => one.run_id === run.run_id && one.dag_id === run.dag_id);
  const links = nodes.map((node, number) => {
    const about = [node.name, node.detail, ...origins(number, data).map((pair) => pair.join(" "))].filter(Boolean).join("\n");
    const properties = { class: `node ${node.kind} ${node.state.replaceAll(" ", "-")}${own(node) ? " own" : ""}`, title: about,
      "aria-current": own(node) ? "true" : null };
    const text = [h("bdi", { class: "node-name" }, node.name),
      h("bdi", { class: "node-note" }, [node.kind === "promoted" ? node.detail : node.state, node.kind === "promoted" ? "" : node.detail].filter(Boolean).join(" · "))];
    return node.run ? h("a", { ...properties, href: addressOf(node.view, node.run) }, text)
      : h("span", { ...properties, tabindex: "0", role: "note", "aria-label": about }, text);
  });
  const lines = edges.map(([from, to, relation]) => svg("path", {
    class: `edge ${relation.replaceAll(" ", "-")}`, d: line(nodes[from], nodes[to]), "marker-end": "url(#lineage-arrow)" }));
  const wide = left({ column: 3 }) + WIDTH + 4;
  const high = TOP + (Math.max(...nodes.map((node) => node.row)) + 1) * ROW;
  const show = (number) => {
    const near = number === null ? null : related(number, edges);
    links.forEach((link, at) => link.classList.toggle("far", near !== null && !near.has(at)));
    lines.forEach((path, at) => path.classList.toggle("far", near !== null && !(near.has(edges[at][0]) && near.has(edges[at][1]))));
  };
  links.forEach((link, number) => {
    for (const event of ["focus", "pointerenter"]) link.addEventListener(event, () => show(number));
    for (const event of ["blur", "pointerleave"]) link.addEventListener(event, () => show(null));
    link.addEventListener("keydown", (event) => {
      const column = nodes.map((_, at) => at).filter((at) => nodes[at].column === nodes[number].column);
      const to = { ArrowUp: () => column[column.indexOf(number) - 1], ArrowDown: () => column[column.indexOf(number) + 1],
        ArrowLeft: () => edges.find((edge) => edge[1] === number)?.[0], ArrowRight: () => edges.find((edge) => edge[0] === number)?.[1] }[event.key];
      if (!to) return;
      event.preventDefault();
      links[to()]?.focus();
    });
  });
  return h("div", { class: "scroll lineage", tabindex: "0", role: "region", "aria-label": "Graph of what was made from what" },
    svg("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "group", "aria-label": "Sources, datasets, models, promoted models" },
      svg("defs", {}, svg("marker", { id: "lineage-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" },
        svg("path", { class: "arrow", d: "M0,0 L8,4 L0,8 z" }))),
      data.columns.map((name, column) => svg("text", { class: "column", x: left({ column }), y: 16 }, HEADS[name])),
      svg("g", { "aria-hidden": "true" }, lines),
      nodes.map((node, number) => svg("foreignObject", { x: left(node), y: TOP + node.row * ROW, width: WIDTH, height: HEIGHT }, links[number]))));
}

const asTable = (data) => table("What was made from what", ["Name", "What", "State", "Made from", "Runs"], data.nodes.map((node, number) => [
  [node.run ? h("a", { class: "run-id", href: addressOf(node.view, node.run) }, h("bdi", {}, node.name)) : h("bdi", { class: "run-id" }, node.name),
    node.detail ? h("bdi", { class: "cell-note" }, node.detail) : null],
  NAMES[node.kind], node.state || "–",
  h("ul", {}, origins(number, data).map(([relation, name]) => h("li", {}, `${relation} `, h("bdi", { class: "run-id" }, name)))),
  h("ul", {}, node.runs.map((one) => h("li", {}, out(runAddress(one), one.run_id, { class: "run-id" }))),
    node.more_runs ? h("li", {}, `and ${count(node.more_runs)} more`) : null),
]), { class: "lineage-table" });

export const lineage = {
  title: "Lineage",
  alone: true,
  address: () => "data/lineage",
  make({ run }) {
    const node = h("div", { class: "stack" });
    return {
      node,
      update(data) {
        fill(node, data, () => data.nodes.length ? [
          card("What was made from what", drawing(data, run),
            h("p", { class: "faint" }, "Solid lines: read, trained on, promoted. Dashed: extends, started from. With the arrow keys you go from one to the next.",
              data.more ? ` Only the newest ${count(data.runs)} runs are shown.` : "", data.cut ? " There is more than can be drawn: the oldest are left out." : "")),
          card(null, h("details", {}, h("summary", {}, "As a table"), asTable(data)))]
          : empty("Nothing made yet", "A dataset appears here when a run's settings are checked.", out(airflow("dags/qarib_pretrain"), "Open the DAG", { class: "button" })));
        const own = node.querySelector(".node.own");
        if (own && run && !node.dataset.shown) {
          node.dataset.shown = "yes";
          own.scrollIntoView({ block: "nearest", inline: "nearest" });
        }
      },
    };
  },
};
