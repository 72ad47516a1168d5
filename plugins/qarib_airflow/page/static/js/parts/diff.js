// The difference of two texts, marked in each of them. Their words stay in their order: nothing is set apart, so that
// Arabic stays joined and reads from right to left.
import { h } from "./dom.js";

const MOST = 700; // characters that are compared; the rest is not marked
const TOKEN = /\p{L}[\p{L}\p{M}\u0640]*|\p{N}+|[^\p{L}\p{N}]/gu;
// What has no width or joins its neighbours is shown by its number.
const UNSEEN = /^[\p{Cc}\p{Cf}\p{Mn}\p{Zs}]+$/u;

/** The longest common sequence of two lists, as [[from, to, length]] runs in both. */
function common(one, other) {
  const width = other.length + 1;
  const best = new Uint16Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i -= 1) {
    for (let j = other.length - 1; j >= 0; j -= 1) {
      best[i * width + j] = one[i] === other[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const runs = [];
  for (let i = 0, j = 0; i < one.length && j < other.length;) {
    if (one[i] === other[j]) {
      const last = runs[runs.length - 1];
      if (last && last[0] + last[2] === i && last[1] + last[2] === j) last[2] += 1;
      else runs.push([i, j, 1]);
      i += 1;
      j += 1;
    } else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return runs;
}

/** [equal?, text of one, text of the other] pieces. */
function pieces(one, other) {
  const found = [];
  let [i, j] = [0, 0];
  for (const [from, to, length] of [...common(one, other), [one.length, other.length, 0]]) {
    if (from > i || to > j) found.push([false, one.slice(i, from), other.slice(j, to)]);
    if (length) found.push([true, one.slice(from, from + length), other.slice(to, to + length)]);
    [i, j] = [from + length, to + length];
  }
  return found;
}

/** Two texts as pieces: words are compared first, then the characters of words that differ. */
export function difference(before, after) {
  const [one, other] = [before, after].map((text) => text.slice(0, MOST).match(TOKEN) || []);
  const found = pieces(one, other).flatMap(([equal, old, now]) => {
    if (equal) return [[true, old.join(""), now.join("")]];
    return pieces([...old.join("")], [...now.join("")]).map(([same, a, b]) => [same, a.join(""), b.join("")]);
  });
  const rest = [before.slice(MOST), after.slice(MOST)];
  return rest[0] || rest[1] ? [...found, [rest[0] === rest[1], ...rest]] : found;
}

const codes = (text) => [...text].map((one) => `U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`).join(" ");

/** The two texts as elements: what is only in the first one is `del`, what is only in the second one `ins`. */
export function marked(before, after) {
  const found = difference(before, after);
  return [1, 2].map((side) => found.map((piece) => {
    const text = piece[side];
    if (piece[0] || !text) return text;
    return h(side === 1 ? "del" : "ins", { "data-code": UNSEEN.test(text) && text !== " " ? codes(text) : null }, text);
  }));
}
