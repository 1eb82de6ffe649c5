// What the page knows: the picture at a number, and how the stream changes it. Rows are replaced by
// key and never edited, so a component redraws only when its own row is another one.

import { act, get } from "./api.js";
import { batch, computed, signal } from "./vendor/preact.js";

const MESSAGES_KEPT = 400;

export const loaded = signal(false);
export const number = signal(0);
/** How many whole pictures were loaded; more than one when the stream could not go on. */
export const pictures = signal(0);
export const hive = signal({ name: "hive", version: "", model: { kind: "none", ready: true } });
export const agents = signal(new Map());
export const approvals = signal(new Map());
export const messages = signal(new Map());
export const questions = signal(new Map());
export const lastFacts = signal([]);

export const agentList = computed(() =>
  [...agents.value.values()].sort(
    (a, b) => (b.role === "manager") - (a.role === "manager") || (a.name < b.name ? -1 : 1),
  ),
);
export const messageList = computed(() => [...messages.value.values()].sort((a, b) => b.id - a.id));
export const inbox = computed(() =>
  messageList.value.filter((m) => m.to === "operator" && m.state === "queued"),
);
export const approvalList = computed(() => [...approvals.value.values()].sort((a, b) => b.id - a.id));
// Oldest first: what arrives must not push another card under a pointer that is about to approve.
export const pending = computed(() => approvalList.value.filter((a) => a.state === "pending").reverse());
export const working = computed(() =>
  approvalList.value.filter((a) => a.state === "approved" || a.state === "building"),
);
export const decided = computed(() =>
  approvalList.value.filter((a) => !["pending", "approved", "building"].includes(a.state)),
);
// Oldest first, like what is pending: nothing moves under a pointer that is about to answer.
const openQuestions = computed(() =>
  [...questions.value.values()].filter((q) => q.state === "open").sort((a, b) => a.id - b.id),
);
export const askedOfOperator = computed(() => openQuestions.value.filter((q) => q.to === "operator"));
export const askedOfAgents = computed(() => openQuestions.value.filter((q) => q.to !== "operator"));
export const endedQuestions = computed(() =>
  [...questions.value.values()].filter((q) => q.state !== "open").sort((a, b) => b.id - a.id),
);

function byId(rows) {
  return new Map(rows.map((row) => [row.id, row]));
}

function merged(known, rows) {
  if (!rows?.length) return known;
  const next = new Map(known);
  for (const row of rows) next.set(row.id, row);
  return next;
}

function trimmed(rows) {
  if (rows.size <= MESSAGES_KEPT) return rows;
  const kept = [...rows.values()].sort((a, b) => b.id - a.id);
  // Mail that waits for the operator stays, however old it is.
  return byId(kept.filter((m, i) => i < MESSAGES_KEPT || (m.to === "operator" && m.state === "queued")));
}

/** Load the whole picture; the stream goes on from its number. */
export async function loadSnapshot() {
  const picture = await get("/api/snapshot");
  batch(() => {
    number.value = picture.number;
    hive.value = picture.hive;
    agents.value = byId(picture.agents);
    approvals.value = byId(picture.approvals);
    messages.value = byId([...picture.messages, ...picture.inbox]);
    questions.value = byId(picture.questions);
    loaded.value = true;
    pictures.value += 1;
  });
}

/** Take one batch of the stream. A batch that we have had already changes nothing. */
export function applyFacts(update) {
  if (update.number <= number.value) return;
  batch(() => {
    number.value = update.number;
    if (update.hive) hive.value = update.hive;
    agents.value = merged(agents.value, update.agents);
    approvals.value = merged(approvals.value, update.approvals);
    messages.value = trimmed(merged(messages.value, update.messages));
    questions.value = merged(questions.value, update.questions);
    lastFacts.value = update.facts;
  });
}

export async function loadOlderMessages() {
  const oldest = Math.min(...messages.value.keys());
  const found = (await act("messages", { before: oldest, limit: 100 })).messages;
  messages.value = merged(messages.value, found);
  return found.length;
}
