// What is being written, and to whom. Kept for this tab, so a reload loses no typed text.

import { effect, signal } from "./vendor/preact.js";

function remembered(key, otherwise) {
  try {
    return sessionStorage.getItem(key) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export const recipient = signal(remembered("hive-to", "manager"));
export const draft = signal(remembered("hive-draft", ""));
export const replyTo = signal(null);
/** Grows when something else wants the box to have the focus. */
export const focusAsked = signal(0);

effect(() => {
  try {
    sessionStorage.setItem("hive-to", recipient.value);
    sessionStorage.setItem("hive-draft", draft.value);
  } catch {
    // A browser that keeps nothing loses a draft on reload and nothing else.
  }
});

/** Turn to the compose box with a recipient, and perhaps the message that is replied to. */
export function writeTo(name, inReplyTo = null) {
  recipient.value = name;
  replyTo.value = inReplyTo;
  focusAsked.value += 1;
}

/** Put text into the box for the operator to look at and send. */
export function suggest(name, text) {
  draft.value = text;
  writeTo(name);
}
