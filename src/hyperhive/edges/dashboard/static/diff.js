// Which lines and words changed, for reading. What an approval is about is computed by the hive.

import { diffArrays, diffWordsWithSpace } from "./vendor/diff.js";

/** Beyond so many edits the search costs more than it tells: then all is replaced. */
const EDITS_MOST = 1000;
const LINE_MOST = 600;

function split(text) {
  return text === "" ? [] : text.split("\n");
}

/** Rows {mark: " " | "-" | "+", text} that turn `before` into `after`. */
export function diffLines(before, after) {
  const [a, b] = [split(before), split(after)];
  const parts = diffArrays(a, b, { maxEditLength: EDITS_MOST }) ?? [
    { removed: true, value: a },
    { added: true, value: b },
  ];
  return parts.flatMap(({ added, removed, value }) =>
    value.map((text) => ({ mark: added ? "+" : removed ? "-" : " ", text })),
  );
}

/** The parts {text, changed} of both of two lines; null when marking them would not help. */
export function diffWords(before, after) {
  if (before.length > LINE_MOST || after.length > LINE_MOST) return null;
  const parts = diffWordsWithSpace(before, after, { maxEditLength: 60 });
  if (!parts) return null;
  const same = parts.reduce((sum, part) => sum + (part.added || part.removed ? 0 : part.value.trim().length), 0);
  if (same * 3 < Math.max(before.length, after.length)) return null;
  const side = (left) => parts
    .filter((part) => (left ? !part.added : !part.removed))
    .map((part) => ({ text: part.value, changed: Boolean(part.added || part.removed) }));
  return { before: side(true), after: side(false) };
}
