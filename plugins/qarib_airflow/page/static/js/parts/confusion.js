// The confusion matrix of a task: which labels its test texts have, and which are predicted.
import { count, h, percent } from "./dom.js";

/** A label in its own direction, whatever the text around it. */
export const labelOf = (text) => h("bdi", { class: "label", dir: "auto" }, text);

/** A row for each label, a column for each predicted one. Shades are shares of the row. */
export function confusion(caption, labels, counts) {
  const sums = counts.map((row) => row.reduce((sum, number) => sum + number, 0));
  const cell = (number, row, column) => {
    const share = sums[row] ? number / sums[row] : 0;
    const what = row === column ? "predicted rightly" : `predicted as ${labels[column]}`;
    return h("td", { class: row === column ? "count right" : "count", width: share,
      title: `${labels[row]}, ${what}: ${count(number)} of ${count(sums[row])} (${percent(share)})` }, h("span", {}, count(number)));
  };
  return h("div", { class: "matrix", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "label ↓ predicted →"),
        labels.map((label) => h("th", { scope: "col", title: label }, labelOf(label))), h("th", { scope: "col" }, "right"))),
      h("tbody", {}, counts.map((row, index) => h("tr", {}, h("th", { scope: "row" }, labelOf(labels[index])),
        row.map((number, column) => cell(number, index, column)),
        h("td", {}, h("span", {}, sums[index] ? percent(row[index] / sums[index], 0) : "–")))))));
}
