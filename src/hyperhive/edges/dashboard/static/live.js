// The one stream of the page, and the truth about whether it runs.

import { applyFacts, loadSnapshot, number } from "./state.js";
import { signal } from "./vendor/preact.js";

/** `state` is "connecting", "live", "reconnecting" or "paused"; `since` is when that began. */
export const connection = signal({ state: "connecting", since: Date.now() });

const RETRY_FIRST = 1000;
const RETRY_MOST = 15000;
const HIDDEN_MOST = 30000;

const BUILD_LINES_MOST = 5000;

/** The build whose log is followed: {id, lines, ended, waiting}; `id` is null when there is none. */
export const watchedBuild = signal({ id: null, lines: [], ended: false, waiting: false });

let source = null;
let terminal = null;
let retry = RETRY_FIRST;
let retryTimer = 0;
let hiddenTimer = 0;
let onSeen = () => {};

function become(state) {
  if (connection.value.state !== state) connection.value = { state, since: Date.now() };
}

function address() {
  const query = new URLSearchParams({ after: String(number.value) });
  if (terminal) {
    query.set("agent", terminal.agent);
    query.set("terminal", String(terminal.number()));
  }
  const build = watchedBuild.value;
  // Of a build that has ended nothing more can come.
  if (build.id !== null && !build.ended) query.set("build", String(build.id));
  return `/api/live?${query}`;
}

function close() {
  clearTimeout(retryTimer);
  source?.close();
  source = null;
}

function open() {
  close();
  const mine = new EventSource(address());
  source = mine;
  mine.addEventListener("open", () => {
    retry = RETRY_FIRST;
    become("live");
  });
  mine.addEventListener("facts", (event) => applyFacts(JSON.parse(event.data)));
  mine.addEventListener("terminal", (event) => terminal?.take(JSON.parse(event.data).events));
  mine.addEventListener("build", (event) => takeBuild(JSON.parse(event.data)));
  mine.addEventListener("resync", () => reload());
  mine.addEventListener("signed-out", () => location.reload());
  mine.addEventListener("error", () => {
    become("reconnecting");
    // While CONNECTING the browser tries again by itself; CLOSED means that it was refused.
    if (mine.readyState === EventSource.CLOSED) reopenLater();
  });
}

function reopenLater() {
  close();
  retryTimer = setTimeout(reload, retry);
  retry = Math.min(retry * 2, RETRY_MOST);
}

async function reload() {
  close();
  become("reconnecting");
  try {
    await loadSnapshot(); // A 401 here leads to the way in; a refusal to another try.
    await terminal?.reload();
    open();
  } catch {
    reopenLater();
  }
}

// A browser opens six connections to one host at most: tabs that nobody looks at give theirs back,
// but for one dashboard, whose title goes on telling what waits.
function rest() {
  close();
  become("paused");
}

function onUnseen() {
  if (terminal) {
    rest();
    return;
  }
  navigator.locks.request("hive-unseen", { ifAvailable: true }, (lock) => {
    if (!document.hidden) return undefined;
    if (!lock) return rest();
    return new Promise((done) => (onSeen = done));
  });
}

function onVisibility() {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(onUnseen, HIDDEN_MOST);
    return;
  }
  onSeen();
  if (!source) {
    become("reconnecting");
    open();
  }
}

function takeBuild({ id, first, lines, ended }) {
  const known = watchedBuild.value;
  if (known.id !== id) return;
  const all = first ? lines : [...known.lines, ...lines];
  watchedBuild.value = { id, lines: all.slice(-BUILD_LINES_MOST), ended, waiting: false };
}

/** Follow the log of that build instead of another; null for none. */
export function followBuild(id) {
  if (watchedBuild.value.id === id) return;
  watchedBuild.value = { id, lines: [], ended: false, waiting: id !== null };
  if (source) open();
}

/** Follow the hive from the number of the picture on. */
export function follow() {
  open();
  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("online", () => !document.hidden && open());
}

/** Follow the terminal of one agent too: {agent, number() -> last one seen, take(events), reload()}. */
export async function attach(feed) {
  await feed.reload();
  terminal = feed;
  if (source) open();
}
