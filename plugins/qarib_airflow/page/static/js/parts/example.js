// A pre-training example as text: from right to left if its words are Arabic, special tokens and masks as chips.
import { h } from "./dom.js";

// [CLS], or a masked word and what the model sees in its place: {word→[MASK]}.
const TOKEN = /(\[[A-Z]+\d*\]|\{[^{}→]*→[^{}]*\})/;
const ARABIC = /\p{Script=Arabic}/u;

/** The pieces of an example: [kind, text], and for a mask what stands in its place. */
export function piecesOf(text) {
  return text.split(TOKEN).filter(Boolean).map((piece, index, all) => {
    if (!TOKEN.test(piece)) return ["words", piece];
    if (piece.startsWith("[")) return ["special", piece];
    const [word, seen] = piece.slice(1, -1).split("→");
    return ["mask", word, seen];
  });
}

export function exampleOf(text) {
  const pieces = piecesOf(text);
  const words = pieces.filter(([kind]) => kind !== "special").map(([, word]) => word).join(" ");
  return h("p", { class: "arabic example", dir: ARABIC.test(words) ? "rtl" : "auto", lang: "ar" }, pieces.map(([kind, word, seen]) => {
    if (kind === "words") return word;
    if (kind === "special") return h("bdi", { class: "token", lang: "en" }, word);
    const how = seen === "[MASK]" ? "masked" : seen === word ? "kept" : `replaced by ${seen}`;
    return h("mark", { class: "masked", title: `to predict; ${how}` }, h("bdi", {}, word), seen === "[MASK]" ? null : h("bdi", { class: "token" }, seen === word ? "=" : seen));
  }));
}
