// A small line diff for reading: what an edit takes away and what it puts there.

const LCS_MOST = 300;

/** Rows {mark: " " | "-" | "+", text} that turn `before` into `after`. */
export function diffLines(before, after) {
  const a = before === "" ? [] : before.split("\n");
  const b = after === "" ? [] : after.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const middle = changed(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  return [
    ...a.slice(0, head).map((text) => ({ mark: " ", text })),
    ...middle,
    ...a.slice(a.length - tail).map((text) => ({ mark: " ", text })),
  ];
}

function changed(a, b) {
  // Beyond that size the table costs more than it tells.
  if (a.length > LCS_MOST || b.length > LCS_MOST) return [...marked("-", a), ...marked("+", b)];
  const width = b.length + 1;
  const common = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i * width + j] =
        a[i] === b[j]
          ? common[(i + 1) * width + j + 1] + 1
          : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const rows = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      rows.push({ mark: " ", text: a[i] });
      i += 1;
      j += 1;
    } else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) {
      rows.push({ mark: "-", text: a[i] });
      i += 1;
    } else {
      rows.push({ mark: "+", text: b[j] });
      j += 1;
    }
  }
  return [...rows, ...marked("-", a.slice(i)), ...marked("+", b.slice(j))];
}

function marked(mark, lines) {
  return lines.map((text) => ({ mark, text }));
}
