// Small pieces that every section uses.

import { clockTime, plural, shortTime, fullTime, visible } from "./text.js";
import { html, signal, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";

// --- time: one tick for all ages, none while nobody looks -------------------------------------

const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);
document.addEventListener("visibilitychange", () => (now.value = Date.now()));

/** How long ago `at` was, counting. */
export function Age({ at }) {
  if (!at) return null;
  const text = shortTime(now.value - Date.parse(at));
  return html`<time dateTime=${at} title=${fullTime(at)}>${text}</time>`;
}

/** How long until `at`, counting down; nothing once it is over. */
export function Until({ at }) {
  const left = Date.parse(at) - now.value;
  return left > 0 ? html`<span> in ${shortTime(left + 999)}</span>` : null;
}

const MOMENT = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/;

/** The hive's note about a state, its times as the reader's clock shows them. */
export function Note({ text }) {
  return visible(text)
    .split(MOMENT)
    .map((part, index) =>
      index % 2
        ? html`<span key=${index}><time dateTime=${part} title=${fullTime(part)}>${clockTime(part)}</time><${Until} at=${part} /></span>`
        : part,
    );
}

// --- the theme's labels: a look with a plain name --------------------------------------------

/** A label of the theme; readers and the plain theme get `plain`. */
export function Leet({ leet, plain }) {
  return html`<span class="leet" aria-hidden="true">${leet}</span><span class="plain">${plain}</span>`;
}

// --- toasts: errors stay until dismissed ------------------------------------------------------

export const toasts = signal([]);
let lastToast = 0;

export function toast(text, kind = "error") {
  const known = toasts.value.find((each) => each.text === text);
  if (known) return;
  lastToast += 1;
  const id = lastToast;
  toasts.value = [...toasts.value, { id, text, kind }];
  if (kind !== "error") setTimeout(() => dismiss(id), 5000);
}

function dismiss(id) {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}

export function Toasts() {
  return html`
    <div class="toasts" aria-live="assertive" data-testid="toasts">
      ${toasts.value.map(
        (each) => html`
          <div key=${each.id} class="toast ${each.kind}" role=${each.kind === "error" ? "alert" : "status"}
            data-testid="toast">
            <span>${visible(each.text)}</span>
            <button class="quiet" aria-label="Dismiss" onClick=${() => dismiss(each.id)}>×</button>
          </div>
        `,
      )}
    </div>
  `;
}

// --- buttons that always come back -----------------------------------------------------------

/**
 * A button that does something at the hive. It is busy until the answer, keeps the focus (so it is
 * never `disabled`), and shows a refusal as a toast.
 */
export function Act({ leet, plain, name, act, kind = "", testid, disabled = false, describedby }) {
  const [busy, setBusy] = useState(false);
  const alive = useRef(true);
  useEffect(() => () => (alive.current = false), []);
  async function click() {
    if (busy || disabled) return;
    setBusy(true);
    try {
      await act();
    } catch (error) {
      toast(error.message);
    } finally {
      if (alive.current) setBusy(false);
    }
  }
  return html`
    <button type="button" class=${kind} aria-label=${name ?? plain} aria-disabled=${busy || disabled}
      aria-busy=${busy} aria-describedby=${describedby} data-testid=${testid} onClick=${click}>
      <${Leet} leet=${leet ?? plain} plain=${plain} />
    </button>
  `;
}

// --- explicit confirmation --------------------------------------------------------------------

const question = signal(null);

/** Ask before something that cannot be taken back; resolves to true or false. */
export function confirmFirst(title, text, verb) {
  return new Promise((resolve) => {
    question.value = { title, text, verb, resolve };
  });
}

export function Confirm() {
  const dialog = useRef(null);
  const asked = question.value;
  useEffect(() => {
    if (asked && !dialog.current.open) dialog.current.showModal();
  }, [asked]);
  function answer(value) {
    dialog.current.close();
    question.value = null;
    asked?.resolve(value);
  }
  return html`
    <dialog ref=${dialog} aria-labelledby="confirm-title" data-testid="confirm"
      onCancel=${(event) => { event.preventDefault(); answer(false); }}>
      ${asked && html`
        <h2 id="confirm-title">${asked.title}</h2>
        <p>${asked.text}</p>
        <div class="row end">
          <button type="button" autofocus data-testid="confirm-no" onClick=${() => answer(false)}>Cancel</button>
          <button type="button" class="danger" data-testid="confirm-yes" onClick=${() => answer(true)}>
            ${asked.verb}
          </button>
        </div>
      `}
    </dialog>
  `;
}

// --- words of others --------------------------------------------------------------------------

const RUN = /(\S{400,})/;
const PIECE = 200;

/**
 * Text for the page: every character visible, endless words in pieces. A browser lays out one word
 * in quadratic time with a font that kerns it: 200 KiB of one letter would stop the page for minutes.
 */
export function shown(text) {
  const safe = visible(text);
  if (!RUN.test(safe)) return safe;
  return safe.split(RUN).map((part, index) => (index % 2 ? html`<span class="run" key=${index}>${pieces(part)}</span>` : part));
}

function pieces(word) {
  const parts = [];
  for (let from = 0; from < word.length; ) {
    const to = whole(word, from + PIECE);
    parts.push(word.slice(from, to), html`<wbr />`);
    from = to;
  }
  return parts;
}

/** The place to cut at, moved by one when it is inside a pair of surrogates. */
function whole(text, at) {
  const code = text.charCodeAt(at - 1);
  return code >= 0xd800 && code <= 0xdbff ? at + 1 : at;
}

const FOLD = { characters: 600, lines: 8 };
const FOLDED_CHARACTERS = 1500;
const FOLDED_LINES = 12;

function beginning(text) {
  const lines = text.split("\n", FOLDED_LINES).join("\n");
  return lines.slice(0, whole(lines, FOLDED_CHARACTERS));
}

/** Text that somebody else wrote: every character visible, long text folded with its size. */
export function Words({ text, testid, fold = FOLD, kind = "" }) {
  const [open, setOpen] = useState(false);
  const all = String(text ?? "");
  const lines = useMemo(() => all.split("\n").length, [all]);
  const long = all.length > fold.characters || lines > fold.lines;
  const folded = long && !open;
  const content = useMemo(() => shown(folded ? beginning(all) : all), [all, folded]);
  return html`
    <div class="words ${kind} ${folded ? "folded" : ""}" dir="auto" data-testid=${testid}>${content}</div>
    ${long && html`
      <button type="button" class="quiet unfold" aria-expanded=${open} onClick=${() => setOpen(!open)}>
        ${open ? "show less" : `show all (${plural(lines, "line")}, ${plural(all.length, "character")})`}
      </button>
    `}
  `;
}

/** A titled part of the page. */
export function Section({ id, leet, plain, count, urgent = false, aside, children }) {
  return html`
    <section class="panel" id=${id} aria-labelledby="${id}-title" data-testid=${id}>
      <header class="panel-head">
        <h2 id="${id}-title"><${Leet} leet=${leet} plain=${plain} /></h2>
        ${count !== undefined && html`<span class="count ${count > 0 && urgent ? "urgent" : ""}" data-testid="${id}-count">${count}</span>`}
        <span class="grow"></span>
        ${aside}
      </header>
      ${children}
    </section>
  `;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}
