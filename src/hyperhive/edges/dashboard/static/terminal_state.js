// The terminal of one agent: its events in order, results beside the calls that they answer.

import { get } from "./api.js";
import { signal } from "./vendor/preact.js";

const HISTORY = 2000;
const KEPT = 6000;

/**
 * Fold `events` into `items`: a result goes to its call when that is there; the first mail of a turn
 * knows that it begins one and whether the one before was lost, its result how long it took.
 */
function fold(items, events) {
  const next = [...items];
  const calls = new Map();
  next.forEach((item, index) => item.kind === "tool_use" && calls.set(item.data.id, index));
  for (const event of events) {
    const index = event.kind === "tool_result" ? calls.get(event.data.id) : undefined;
    if (index !== undefined) {
      next[index] = { ...next[index], result: event.data };
      continue;
    }
    if (event.kind === "result") {
      const begun = next.findLast((item) => item.begins && item.turn === event.turn);
      next.push({ ...event, lasted: begun && Date.parse(event.at) - Date.parse(begun.at) });
      continue;
    }
    if (event.kind === "tool_use") calls.set(event.data.id, next.length);
    const begins = (event.kind === "wake" || event.kind === "compaction") && next.at(-1)?.turn !== event.turn;
    next.push({ ...event, begins, afterLost: begins && isOpen(next) });
  }
  return next;
}

/** Whether the last turn that begins here has no end: its harness died, or its sandbox. */
function isOpen(items) {
  const start = items.findLastIndex((item) => item.begins);
  return start >= 0 && !items.slice(start).some((item) => item.kind === "result" && item.turn === items[start].turn);
}

export class TerminalState {
  constructor(agent) {
    this.agent = agent;
    this.items = signal([]);
    this.more = signal(false);
    this.loaded = signal(false);
    this.first = 0;
    this.last = 0;
    this.events = [];
    this.folded = [];
    // What the operator ordered here and what came of it; only this page knows it.
    this.own = [];
    this.cleared = 0;
    this.hasMore = false;
  }

  show(folded) {
    this.folded = folded;
    if (!this.own.length && !this.cleared) {
      this.items.value = folded;
      return;
    }
    const seen = [...folded, ...this.own].filter((item) => item.number > this.cleared);
    this.items.value = seen.sort((one, other) => one.number - other.number);
  }

  /** Put a command and its answer at the end. */
  tell(command, answer, good) {
    if (!answer) return;
    const number = this.last + (this.own.length + 1) / 1e6;
    this.own.push({ number, kind: "command", at: new Date().toISOString(), data: { command, answer, good } });
    this.show(this.folded);
  }

  /** Show nothing of what was up to now; it can be loaded again. */
  clear() {
    this.own = [];
    this.cleared = this.last;
    if (this.events.length) this.more.value = true;
    this.show(this.folded);
  }

  number() {
    return this.last;
  }

  async reload() {
    const found = await get(`/api/agents/${this.agent}/history?limit=${HISTORY}`);
    this.events = found.events;
    this.last = found.number;
    this.hasMore = found.more;
    this.more.value = found.more || this.cleared > 0;
    this.show(fold([], found.events));
    this.loaded.value = true;
  }

  /** New events of the stream; those that we have had already are left out. */
  take(events) {
    const fresh = events.filter((event) => event.number > this.last);
    if (!fresh.length) return;
    this.last = fresh[fresh.length - 1].number;
    this.events.push(...fresh);
    this.show(fold(this.folded, fresh));
  }

  async older() {
    if (this.cleared) {
      this.cleared = 0;
      this.more.value = this.hasMore;
      this.show(this.folded);
      return;
    }
    const before = this.events[0]?.number;
    if (!before) return;
    const found = await get(`/api/agents/${this.agent}/history?before=${before}&limit=${HISTORY}`);
    this.events = [...found.events, ...this.events];
    this.more.value = this.hasMore = found.more;
    this.show(fold([], this.events));
  }

  /** Let go of what is far above; it can be loaded again. */
  trim() {
    if (this.events.length <= KEPT) return;
    this.events = this.events.slice(-HISTORY);
    this.more.value = this.hasMore = true;
    this.show(fold([], this.events));
  }
}
