// One agent: its head, its live terminal, a prompt, and the mail that it got.

import { act, newKey } from "./api.js";
import { AgentActions, DeploymentChips, StateBadge, Trouble, condition } from "./agents.js";
import { MessageRow } from "./mail.js";
import { ModelHint } from "./model.js";
import { agents, agentList, hive, lastFacts, loaded, messageList, messages, pictures } from "./state.js";
import { Terminal } from "./terminal.js";
import { duration, plural, shortNumber, visible } from "./text.js";
import { Age, Empty, Leet, Note, Section, toast } from "./ui.js";
import { effect, html, signal, useEffect, useRef, useState } from "./vendor/preact.js";

const TURNS = 50;
const INBOX = 30;

const turns = signal([]);

async function loadTurns(name) {
  try {
    turns.value = (await act("turns", { name, limit: TURNS })).turns;
  } catch (error) {
    toast(error.message);
  }
}

async function loadMail(name) {
  try {
    const found = (await act("messages", { agent: name, limit: INBOX })).messages;
    const next = new Map(messages.value);
    for (const message of found) if (!next.has(message.id)) next.set(message.id, message);
    messages.value = next;
  } catch (error) {
    toast(error.message);
  }
}

/** Load what stands beside the terminal, and load turns again when one has begun or ended. */
export function watchAgent(name) {
  effect(() => {
    // A new picture forgets what was loaded beside it.
    if (pictures.value === 0) return;
    loadTurns(name);
    loadMail(name);
  });
  effect(() => {
    const id = agentList.value.find((agent) => agent.name === name)?.id;
    const touched = lastFacts.value.some((fact) => fact.agent === id && fact.kind.startsWith("Turn") && fact.kind !== "TurnStateChanged");
    if (id && touched) loadTurns(name);
  });
}

const IN_TURN = ["thinking", "compacting"];

/** Whether a turn runs, also while its model is slow, limited or away for a moment. */
function isInTurn(agent) {
  return agent.phase === "running" && (IN_TURN.includes(agent.turn_state) || turns.value.some((turn) => turn.outcome === "running"));
}

function Chips({ agent }) {
  const rows = turns.value;
  const last = rows.find((turn) => turn.outcome !== "running");
  const context = rows.find((turn) => turn.context_tokens > 0)?.context_tokens;
  const spent = rows.reduce((sum, turn) => sum + turn.cost_usd, 0);
  return html`
    <span class="chip" title="Model" data-testid="model-chip">${visible(agent.model || rows[0]?.model || "default model")}</span>
    ${last && html`
      <span class="chip ${last.outcome === "ok" ? "" : "tone-bad"}" data-testid="turn-chip"
        title="Last turn: ${visible(last.note || last.outcome)}, woken by ${visible(last.woke_by)}">
        last turn ${last.outcome.replaceAll("_", " ")}${last.ended_at && ` · ${duration(Date.parse(last.ended_at) - Date.parse(last.started_at))}`}</span>`}
    ${context !== undefined && html`<span class="chip" data-testid="context-chip" title="Tokens in the model's window at its last request">context ${shortNumber(context)}</span>`}
    ${rows.length > 0 && html`<span class="chip" data-testid="cost-chip" title="The last ${plural(rows.length, "turn")} at list prices${hive.value.model?.kind === "demo" ? "; the scripted model costs nothing" : ""}">$${spent.toFixed(spent < 1 ? 4 : 2)}</span>`}
  `;
}

function Prompt({ name }) {
  const box = useRef(null);
  const key = useRef(null);
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  async function send() {
    if (busy || !text.trim()) return;
    const body = text;
    setBusy(true);
    key.current ??= newKey();
    try {
      await act("send", { to: name, body, key: key.current });
      key.current = null;
      setText((now) => (now === body ? "" : now));
    } catch (error) {
      toast(error.message);
    } finally {
      setBusy(false);
    }
  }
  function onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  }
  return html`
    <div class="prompt">
      <span class="prompt-mark" aria-hidden="true">❯</span>
      <textarea ref=${box} rows="1" aria-label="Message to ${name}" placeholder="Message to ${name} …" title="Enter sends, Shift+Enter breaks"
        data-testid="prompt" value=${text} onKeyDown=${onKey}
        onInput=${(event) => { key.current = null; setText(event.target.value); }}></textarea>
      <button type="button" class="primary" aria-label="Send to ${name}" aria-disabled=${busy || !text.trim()} aria-busy=${busy}
        data-testid="prompt-send" onClick=${send}><${Leet} leet="S3ND" plain="Send" /></button>
    </div>
  `;
}

function Mail({ name }) {
  const rows = messageList.value.filter((message) => message.to === name).slice(0, INBOX);
  return html`
    <${Section} id="agent-inbox" leet="INB0X" plain="Inbox" count=${rows.filter((each) => each.state !== "handled").length}>
      ${rows.length === 0 && html`<${Empty}>No mail yet.<//>`}
      <ol class="rows messages" reversed>${rows.map((each) => html`<${MessageRow} key=${each.id} message=${each} replies=${false} />`)}</ol>
    <//>
  `;
}

/** Where the agent wanted to go and may not; nothing is shown while nothing was refused. */
function Refused({ refused }) {
  if (!refused?.count) return null;
  return html`
    <${Section} id="refused" leet="R3FUS3D" plain="Refused" count=${refused.count}>
      <ul class="rows refused" data-testid="refused">${refused.hosts.map((each) => html`
        <li key=${each.host} class="line" data-testid="refused-host">
          <code>${visible(each.host)}</code>
          <span class="dim">${each.count > 1 && `${each.count} times · `}${visible(each.reason)} · <${Age} at=${each.at} /> ago</span>
        </li>`)}</ul>
    <//>
  `;
}

export function AgentPage({ name, terminal }) {
  const agent = [...agents.value.values()].find((each) => each.name === name);
  useEffect(() => {
    document.title = `${name} · hyperhive`;
  }, [name]);
  if (!agent) {
    return html`<main class="missing"><${Empty}>${loaded.value ? html`There is no agent named <b>${visible(name)}</b>. <a href="/">Back to the dashboard</a>` : "Loading …"}<//></main>`;
  }
  const { note } = condition(agent);
  return html`
    <main class="agent-page">
      <div class="agent-head">
        <h1 class="name">${name}</h1>
        <${StateBadge} agent=${agent} />
        <${DeploymentChips} agent=${agent} />
        <${Chips} agent=${agent} />
        <${AgentActions} agent=${agent} interrupt=${isInTurn(agent)} />
        <${ModelHint} />
        ${(note || agent.status) && html`
          <p class="status" dir="auto"><${Note} text=${note} /> ${agent.status && html`<q>${visible(agent.status)}</q>`}</p>`}
        <${Trouble} agent=${agent} />
      </div>
      <section class="terminal-panel panel" aria-label="Terminal">
        <${Terminal} state=${terminal} />
        <${Prompt} name=${name} />
      </section>
      <aside>
        <${Mail} name=${name} />
        <${Refused} refused=${agent.refused} />
      </aside>
    </main>
  `;
}
