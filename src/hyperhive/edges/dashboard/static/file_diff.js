// Changed files as the hive computed them: every byte is there, what has no picture is written out
// between ⟦ and ⟧. Nothing is shortened here; what is not shown says so and must be acknowledged.

import { diffWords } from "./diff.js";
import { plural, shortSize } from "./text.js";
import { shown } from "./ui.js";
import { html, useMemo, useState } from "./vendor/preact.js";

const ODD = /(⟦[^⟦⟧]*⟧|\t|[ \t]+$)/;
const OPEN_MOST = 400;

function pieces(text) {
  if (!ODD.test(text)) return shown(text);
  return text.split(ODD).map((part, index) => {
    if (index % 2 === 0) return shown(part);
    if (part.startsWith("⟦")) return html`<mark key=${index} class="escape">${part}</mark>`;
    return html`<span key=${index} class=${part === "\t" ? "tab" : "trailing"}>${part}</span>`;
  });
}

const NAMES = { "+": "added", "-": "removed", " ": "" };

/** For each row of a hunk the parts of its text, where a line has a counterpart to compare with. */
function pairUp(rows) {
  const words = new Map();
  let at = 0;
  while (at < rows.length) {
    let removed = at;
    while (rows[removed]?.sign === "-") removed += 1;
    let added = removed;
    while (rows[added]?.sign === "+") added += 1;
    const count = Math.min(removed - at, added - removed);
    for (let index = 0; index < count; index += 1) {
      const [before, after] = [rows[at + index].text, rows[removed + index].text];
      const found = before.includes("⟦") || after.includes("⟦") ? null : diffWords(before, after);
      if (found) {
        words.set(at + index, found.before);
        words.set(removed + index, found.after);
      }
    }
    at = Math.max(added, at + 1);
  }
  return words;
}

function Row({ row, words, before, after }) {
  const text = words
    ? words.map((part, index) => (part.changed ? html`<b key=${index} class="word">${pieces(part.text)}</b>` : pieces(part.text)))
    : pieces(row.text);
  return html`
    <span class="code-row ${NAMES[row.sign]}"><span class="number" data-before=${before ?? ""} data-after=${after ?? ""}></span
      ><span class="sign">${row.sign}</span><span class="code-text">${text}${row.open && html`<i class="no-end"> no line feed at the end</i>`}${"\n"}</span></span>
  `;
}

export function Hunk({ hunk, path }) {
  const words = useMemo(() => pairUp(hunk.rows), [hunk]);
  let [before, after] = [hunk.before, hunk.after];
  const rows = hunk.rows.map((row, index) => {
    const numbers = { before: row.sign === "+" ? null : before, after: row.sign === "-" ? null : after };
    before += row.sign === "+" ? 0 : 1;
    after += row.sign === "-" ? 0 : 1;
    return html`<${Row} key=${index} row=${row} words=${words.get(index)} ...${numbers} />`;
  });
  return html`<pre class="hunk" dir="ltr" tabIndex="0" role="region" aria-label="Change of ${path} at line ${hunk.after}">${rows}</pre>`;
}

const CHANGES = { added: "new", removed: "removed", changed: "changed" };

function modeWords(file) {
  const before = file.mode_before === "100755";
  const after = file.mode === "100755";
  if (file.mode === null || before === after) return after ? "executable" : "";
  return after ? "becomes executable" : file.mode_before === null ? "" : "no longer executable";
}

/** Why a file, or a side of it, is not shown. */
function Unread({ file }) {
  const side = file.mode === null ? "_before" : "";
  return html`
    <div class="unread" data-testid="unread">
      <p><b>Not read:</b> ${file.kind === "binary" ? "this is no text." : "too large to be shown."} Nobody has looked at it here.</p>
      <dl class="facts">
        <dt>size</dt><dd>${file[`size${side}`]} bytes</dd>
        <dt>sha256</dt><dd><code>${file[`sha256${side}`] ?? "not computed"}</code></dd>
        <dt>git blob</dt><dd><code>${file[`blob${side}`]}</code></dd>
        ${file[`head${side}`] && html`<dt>begins</dt><dd><code>${file[`head${side}`]} …</code></dd>`}
      </dl>
    </div>
  `;
}

export function Marks({ marks }) {
  return marks.map((mark) => html`
    <span key=${mark.mark} class="badge tone-bad" data-testid="mark" data-mark=${mark.mark}
      title="in line ${mark.lines.join(", ")}${mark.count > mark.lines.length ? " …" : ""}">${mark.says}${mark.count > 1 ? ` × ${mark.count}` : ""}</span>`);
}

/** One changed file, folded or open. */
export function FileDiff({ file, open }) {
  const [unfolded, setUnfolded] = useState(open);
  const size = file.size ?? file.size_before;
  const mode = modeWords(file);
  return html`
    <details class="file" open=${unfolded} onToggle=${(event) => setUnfolded(event.currentTarget.open)} data-testid="file" data-path=${file.path}>
      <summary>
        <code class="path">${pieces(file.path)}</code>
        <span class="badge ${file.change === "removed" ? "tone-warn" : "tone-busy"}">${CHANGES[file.change]}</span>
        ${mode && html`<span class="badge tone-warn">${mode}</span>`}
        ${file.kind !== "text" && html`<span class="badge tone-bad">${file.kind}: not read</span>`}
        <${Marks} marks=${file.marks} />
        <span class="counts"><span class="plus">+${file.added}</span> <span class="minus">−${file.removed}</span> <span class="dim">${shortSize(size)}</span></span>
      </summary>
      ${unfolded && (file.kind === "text"
        ? file.hunks.length
          ? file.hunks.map((hunk) => html`<${Hunk} key=${hunk.after} hunk=${hunk} path=${file.path} />`)
          : html`<p class="dim small">${file.change === "changed" ? "The content is the same." : "An empty file."}</p>`
        : html`<${Unread} file=${file} />`)}
    </details>
  `;
}

/** All changed files; all open unless they are so many that each is acknowledged by itself. */
export function FileDiffs({ files }) {
  const changed = files.reduce((sum, file) => sum + file.added + file.removed, 0);
  if (files.length === 0) return html`<p class="dim">No file differs.</p>`;
  return html`
    <p class="dim small">${plural(files.length, "file")}, <span class="plus">+${files.reduce((sum, file) => sum + file.added, 0)}</span>${" "}
      <span class="minus">−${files.reduce((sum, file) => sum + file.removed, 0)}</span> lines. Lines that are left out are the same on both sides.</p>
    ${files.map((file) => html`<${FileDiff} key=${file.path} file=${file} open=${changed <= OPEN_MOST || files.length === 1} />`)}
  `;
}

/** One whole file for reading. */
export function FileContent({ file }) {
  if (file.kind !== "text") return html`<${Unread} file=${file} />`;
  return html`
    <${Marks} marks=${file.marks} />
    ${file.rows.length
      ? html`<pre class="hunk whole" dir="ltr" tabIndex="0" role="region" aria-label="Content of ${file.path}">${file.rows.map((row, index) => html`<${Row} key=${index} row=${row} after=${index + 1} />`)}</pre>`
      : html`<p class="dim small">An empty file.</p>`}
  `;
}
