// A small Markdown to elements: headings, paragraphs, lists, tables, code, emphasis. All else stays text.
import { h } from "./dom.js";

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)\s]+\)|<https?:\/\/[^>\s]+>)/;

/** A link only to a web address: never a script, never an address of this page. */
const link = (text, address) => (/^https?:\/\//i.test(address) ? h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text) : `${text} (${address})`);

function inline(text) {
  return text.split(INLINE).filter(Boolean).map((piece) => {
    if (/^`[^`]+`$/.test(piece)) return h("code", {}, piece.slice(1, -1));
    if (/^\*\*[^*]+\*\*$/.test(piece)) return h("strong", {}, piece.slice(2, -2));
    const linked = piece.match(/^\[([^\]]+)\]\(([^)\s]+)\)$/);
    if (linked) return link(linked[1], linked[2]);
    if (/^<https?:/.test(piece)) return link(piece.slice(1, -1), piece.slice(1, -1));
    return piece;
  });
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => inline(cell.trim()));

/** Elements for a text. A block of metadata at its beginning, between lines of dashes, is shown as code. */
export function markdown(text) {
  const lines = text.split(/\r?\n/);
  const made = [];
  const take = (while_) => { const found = []; while (lines.length && while_(lines[0])) found.push(lines.shift()); return found; };
  if (lines[0] === "---") {
    lines.shift();
    made.push(h("pre", { tabindex: "0" }, take((line) => line !== "---").join("\n")));
    lines.shift();
  }
  while (lines.length) {
    const line = lines[0];
    const heading = line.match(/^(#{1,6})\s+(.*)$/);
    if (!line.trim()) lines.shift();
    else if (heading) {
      lines.shift();
      made.push(h(`h${Math.min(6, heading[1].length + 2)}`, {}, inline(heading[2])));
    } else if (line.startsWith("```")) {
      lines.shift();
      made.push(h("pre", { tabindex: "0" }, take((one) => !one.startsWith("```")).join("\n")));
      lines.shift();
    } else if (/^\s*\|/.test(line) && /^\s*\|[\s:|-]+$/.test(lines[1] || "")) {
      const [head, , ...rows] = take((one) => /^\s*\|/.test(one));
      made.push(h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, cells(head).map((cell) => h("th", { scope: "col" }, cell)))),
        h("tbody", {}, rows.map((row) => h("tr", {}, cells(row).map((cell) => h("td", {}, cell))))))));
    } else if (/^\s*([-*]|\d+\.)\s/.test(line)) {
      const items = take((one) => /^\s*([-*]|\d+\.)\s/.test(one) || /^\s{2,}\S/.test(one)).reduce((found, one) => {
        if (/^\s*([-*]|\d+\.)\s/.test(one)) found.push(one.replace(/^\s*([-*]|\d+\.)\s+/, ""));
        else found[found.length - 1] += ` ${one.trim()}`;
        return found;
      }, []);
      made.push(h(/^\s*\d/.test(line) ? "ol" : "ul", { class: "listed" }, items.map((item) => h("li", {}, inline(item)))));
    } else {
      const words = take((one) => one.trim() && !/^(#{1,6}\s|```|\s*\||\s*([-*]|\d+\.)\s)/.test(one));
      made.push(words.length ? h("p", {}, inline(words.join(" "))) : h("p", {}, lines.shift()));
    }
  }
  return made;
}
