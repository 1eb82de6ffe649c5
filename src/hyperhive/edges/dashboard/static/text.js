// Text that others wrote, made safe to look at; numbers and times made short.

// Control characters other than newline and tab, bidirectional overrides and isolates, zero-width
// characters, soft hyphen, variation selectors for tags, lone surrogates: a reader must see them.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|[\u{e0000}-\u{e0fff}\u{1d173}-\u{1d17a}]/gu;

function escapeOne(character) {
  const code = character.codePointAt(0);
  return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** Text with every invisible or reordering character shown as an escape. */
export function visible(text) {
  return String(text ?? "").replace(/\r\n/g, "\n").replace(HIDDEN, escapeOne);
}

const ESCAPE_SEQUENCES =
  /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]/g;

/** What a program printed, without its colours and cursor moves (ECMA-48); no word is left out. */
export function printed(text) {
  return text.replace(ESCAPE_SEQUENCES, "").replace(/\r+\n/g, "\n").replace(/\r+/g, "\n").trimEnd();
}

/** How long something took: like `shortTime`, but not nothing. */
export function duration(milliseconds) {
  return milliseconds < 1000 ? "<1 s" : shortTime(milliseconds);
}

/** "12 s", "3 min", "4 h", "2 d" from milliseconds. */
export function shortTime(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function clockTime(iso) {
  return new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function fullTime(iso) {
  return new Date(iso).toLocaleString();
}

/** 950, "12.3k", "1.2M". */
export function shortNumber(value) {
  if (value < 1000) return String(value);
  if (value < 1_000_000) return `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

export function shortSize(length) {
  return length < 1024 ? `${length} B` : `${(length / 1024).toFixed(length < 10240 ? 1 : 0)} KiB`;
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
