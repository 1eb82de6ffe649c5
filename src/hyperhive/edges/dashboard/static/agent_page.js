// One agent: its head, its live terminal, a prompt, and the mail that it got.

import { act } from "./api.js";
import { AgentActions, DeploymentChips, StateBadge, Trouble, condition } from "./agents.js";
import { MessageRow } from "./mail.js";
import { ModelHint } from "./model.js";
import { Prompt } from "./prompt.js";
import { agents, agentList, hive, lastFacts, loaded, messageList, messages, pictures } from "./state.js";
import { Terminal } from "./terminal.js";
import { duration, plural, shortNumber, visible } from "./text.js";
import { Act, Age, Empty, Note, Section, toast } from "./ui.js";
import { effect, html, signal, useEffect } from "./vendor/preact.js";

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
  const { context_tokens: filled, window_tokens: room } = agent.session;
  const context = filled || rows.find((turn) => turn.context_tokens > 0)?.context_tokens;
  const spent = rows.reduce((sum, turn) => sum + turn.cost_usd, 0);
  return html`
    <span class="chip" title="Model" data-testid="model-chip">${visible(agent.model || rows[0]?.model || "default model")}</span>
    ${last && html`
      <span class="chip ${last.outcome === "ok" ? "" : "tone-bad"}" data-testid="turn-chip"
        title="Last turn: ${visible(last.note || last.outcome)}, woken by ${visible(last.woke_by)}">
        last ${last.kind === "compaction" ? "compaction" : "turn"} ${last.outcome.replaceAll("_", " ")}${last.ended_at && ` · ${duration(Date.parse(last.ended_at) - Date.parse(last.started_at))}`}</span>`}
    ${context !== undefined && html`<span class="chip" data-testid="context-chip" title="Tokens in the model's window at its last request">context ${shortNumber(context)}${room > 0 && ` of ${shortNumber(room)}`}</span>`}
    ${agent.session.compacts_next && html`<span class="badge tone-warn" data-testid="compacts-next" title="${visible(agent.session.compacts_next)}">compacts next</span>`}
    ${agent.session.begins_anew && html`<span class="badge tone-warn" data-testid="begins-anew" title="The next turn remembers nothing but its files">new session next</span>`}
    ${agent.paused && agent.turn_state !== "paused" && html`<span class="badge tone-warn" data-testid="pauses-next" title="${visible(agent.paused.reason)}">pauses after this turn</span>`}
    ${rows.length > 0 && html`<span class="chip" data-testid="cost-chip" title="The last ${plural(rows.length, "turn")} at list prices${hive.value.model?.kind === "demo" ? "; the scripted model costs nothing" : ""}">$${spent.toFixed(spent < 1 ? 4 : 2)}</span>`}
  `;
}

/** What may be decided about its turns. */
function TurnActions({ agent }) {
  const { name } = agent;
  const say = async (verb) => toast(`${name}: ${(await act(verb, { name })).says}`, "info");
  return html`
    <div class="actions" role="group" aria-label="Turns of ${name}">
      ${agent.paused
        ? html`<${Act} leet="R3SUM3" plain="Resume" name="Resume ${name}" testid="resume" kind="go" act=${() => say("resume")} />`
        : html`<${Act} leet="P4USE" plain="Pause" name="Pause ${name}" testid="pause" act=${() => say("pause")} />`}
      <${Act} leet="C0MPACT" plain="Compact" name="Compact the session of ${name}" testid="compact" act=${() => say("compact")} />
      <${Act} leet="N3W S3SSI0N" plain="New session" name="New session for ${name}" testid="new-session" act=${() => say("new-session")} />
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
        <${TurnActions} agent=${agent} />
        <${ModelHint} />
        ${(note || agent.status) && html`
          <p class="status" dir="auto"><${Note} text=${note} /> ${agent.status && html`<q>${visible(agent.status)}</q>`}</p>`}
        <${Trouble} agent=${agent} />
      </div>
      <section class="terminal-panel panel" aria-label="Terminal">
        <${Terminal} state=${terminal} />
        <${Prompt} agent=${agent} state=${terminal} />
      </section>
      <aside>
        <${Mail} name=${name} />
        <${Refused} refused=${agent.refused} />
      </aside>
    </main>
  `;
}
