// Containers: who lives here, how each is, and what may be done with it.

import { act, get } from "./api.js";
import { Files } from "./configuration.js";
import { agentList, hive, loaded } from "./state.js";
import { visible } from "./text.js";
import { Act, Age, Empty, Leet, Note, Section, Until, confirmFirst, toast } from "./ui.js";
import { html, useRef, useState } from "./vendor/preact.js";

const TURN_LABELS = {
  offline: "offline",
  idle: "idle",
  thinking: "thinking",
  compacting: "compacting",
  rate_limited: "rate limited",
  needs_login: "needs login",
  backing_off: "backing off",
  paused: "paused",
};

const TONES = {
  thinking: "busy", compacting: "busy", spawning: "busy", starting: "busy", stopping: "busy",
  restarting: "busy", idle: "good", crashed: "bad", halted: "bad", needs_login: "bad",
  rate_limited: "warn", backing_off: "warn", paused: "warn", offline: "dim", stopped: "dim",
};

/** The one word for how an agent is, since when, and why. */
export function condition(agent) {
  if (agent.phase === "running") {
    const offline = agent.turn_state === "offline";
    return {
      word: offline ? "waking" : agent.turn_state,
      label: offline ? "waking" : TURN_LABELS[agent.turn_state] ?? agent.turn_state,
      since: offline ? agent.phase_since : agent.turn_since,
      note: agent.turn_note,
    };
  }
  const word = agent.doing ?? agent.phase;
  return { word, label: word, since: agent.phase_since, note: agent.phase_note };
}

export function StateBadge({ agent }) {
  const { word, label, since } = condition(agent);
  return html`
    <span class="badge tone-${TONES[word] ?? "busy"}" data-testid="state" data-state=${word}>
      <span class="dot" aria-hidden="true"></span>${label} <${Age} at=${since} />
    </span>
  `;
}

/** What of its configuration does not work; nothing is shown while all does. */
export function Trouble({ agent }) {
  const away = (agent.mcp_servers ?? []).filter(({ status }) => !["connected", "unknown"].includes(status));
  const texts = [...(agent.trouble ?? []), ...away.map(({ name, status }) => `MCP server ${name}: ${status}; its tools are missing`)];
  return texts.map((text) => html`<p key=${text} class="warn-text" data-testid="trouble">${visible(text)}</p>`);
}

export async function confirmKill(name) {
  const sure = await confirmFirst(
    `Kill ${name}?`,
    "Everything in its sandbox ends at once, in the middle of whatever it does. Its state and its mail stay.",
    `Kill ${name}`,
  );
  if (sure) await act("kill", { name });
}

const WITH_SANDBOX = ["starting", "running", "stopping"];

/** What may be done with one agent now. */
export function AgentActions({ agent, interrupt = false }) {
  const name = agent.name;
  const up = agent.wanted === "running" && agent.phase !== "halted";
  return html`
    <div class="actions" role="group" aria-label="Actions for ${name}">
      ${interrupt && html`
        <${Act} leet="1NT3RRUPT" plain="Interrupt" name="Interrupt ${name}" testid="interrupt"
          act=${() => act("interrupt", { name })} />`}
      ${agent.pausing && agent.phase === "running" && html`
        <${Act} leet="R3TRY" plain="Try now" name="Let ${name} try now" testid="retry" kind="go"
          act=${() => act("retry", { name })} />`}
      ${!up && html`
        <${Act} leet="ST4RT" plain="Start" name="Start ${name}" testid="start" kind="go"
          act=${() => act("start", { name })} />`}
      ${up && html`
        <${Act} leet="ST0P" plain="Stop" name="Stop ${name}" testid="stop"
          act=${() => act("stop", { name })} />`}
      ${!["stopped", "halted"].includes(agent.phase) && html`
        <${Act} leet="R3ST4RT" plain="Restart" name="Restart ${name}" testid="restart"
          act=${() => act("restart", { name })} />`}
      ${agent.deployment && html`
        <${Act} leet="R3BU1LD" plain="Rebuild" name="Rebuild ${name}" testid="rebuild"
          act=${() => act("rebuild", { name })} />`}
      ${WITH_SANDBOX.includes(agent.phase) && html`
        <${Act} leet="K1LL" plain="Kill" name="Kill ${name}" testid="kill" kind="danger"
          act=${() => confirmKill(name)} />`}
    </div>
  `;
}

const LOG_LINES = 200;

/** What the sandbox printed; asked for when opened, not before. */
function LogView({ name }) {
  const [lines, setLines] = useState(null);
  const box = useRef(null);
  async function read() {
    const found = await get(`/api/agents/${name}/log?lines=${LOG_LINES}`);
    setLines(found.lines);
    requestAnimationFrame(() => {
      if (box.current) box.current.scrollTop = box.current.scrollHeight;
    });
  }
  async function toggled(event) {
    if (event.target.open && lines === null) {
      try {
        await read();
      } catch (error) {
        toast(error.message);
      }
    }
  }
  return html`
    <details class="log" onToggle=${toggled} data-testid="log">
      <summary><${Leet} leet="L0G" plain="Log" /><span class="vh"> of ${name}</span></summary>
      <div class="row end"><${Act} plain="Refresh" name="Refresh the log of ${name}" kind="quiet" act=${read} /></div>
      <pre ref=${box} tabIndex="0" role="region" aria-label="Log of ${name}">${
        lines === null ? "…" : lines.length ? lines.map(visible).join("\n") : "(nothing printed yet)"
      }</pre>
    </details>
  `;
}

const WORK = { commit: "deploying", rollback: "rolling back", rebuild: "rebuilding", inputs: "updating inputs" };

/** What it runs, and what is under way with that. */
export function DeploymentChips({ agent }) {
  const { deployment } = agent;
  if (!deployment) return null;
  const { work } = deployment;
  return html`
    <a class="chip" href="/configuration/${agent.name}" data-testid="deployed" title="The configuration that ${agent.name} runs">${deployment.tag} <code>${deployment.sha.slice(0, 7)}</code></a>
    ${work && html`<span class="badge tone-busy" data-testid="deploy-work"><span class="dot" aria-hidden="true"></span>${WORK[work.origin] ?? work.origin}${deployment.trial !== null ? ", on trial" : ""}</span>`}
    ${deployment.stale && !work && html`<span class="badge tone-warn" data-testid="stale" title="Built from older inputs than a build would take now">stale</span>`}
  `;
}

/** The files that it runs; asked for when opened, not before. */
function ConfigurationView({ agent }) {
  const [open, setOpen] = useState(false);
  if (!agent.deployment) return null;
  return html`
    <details class="log" onToggle=${(event) => event.target === event.currentTarget && setOpen(event.currentTarget.open)} data-testid="configuration">
      <summary><${Leet} leet="C0NF1G" plain="Configuration" /><span class="vh"> of ${agent.name}</span></summary>
      ${open && html`<${Files} agent=${agent.name} />`}
    </details>
  `;
}

function AgentRow({ agent }) {
  const { note } = condition(agent);
  return html`
    <li class="agent" data-testid="agent-${agent.name}">
      <div class="line">
        ${agent.role === "manager" && html`<span class="role" title="Has the manager's rights"><span aria-hidden="true">⬢</span><span class="vh">role manager:</span></span>`}
        <a class="name" href="/agents/${agent.name}" data-testid="agent-link">${agent.name}</a>
        <${StateBadge} agent=${agent} />
        ${agent.unread > 0 && html`
          <span class="badge tone-mail" data-testid="unread" title="Messages that wait for it">${agent.unread} unread</span>`}
        <span class="grow"></span>
        <${DeploymentChips} agent=${agent} />
        ${agent.model && html`<span class="chip" title="Model">${visible(agent.model)}</span>`}
      </div>
      <div class="line second">
        <span class="status" dir="auto">${
          note ? html`<${Note} text=${note} />` : agent.status ? html`<q>${visible(agent.status)}</q>` : html`<span class="dim">no status yet</span>`
        }${agent.crashes > 0 && html` <span class="warn-text">· crash ${agent.crashes}${agent.retry_at && agent.phase === "crashed" && html`, next start<${Until} at=${agent.retry_at} />`}</span>`}</span>
        <${AgentActions} agent=${agent} />
      </div>
      <${Trouble} agent=${agent} />
      <${LogView} name=${agent.name} />
      <${ConfigurationView} agent=${agent} />
    </li>
  `;
}

export function Agents() {
  const rows = agentList.value;
  return html`
    <${Section} id="containers" leet="C0NTAINERS" plain="Containers" count=${rows.length}>
      ${rows.length
        ? html`<ul class="rows">${rows.map((agent) => html`<${AgentRow} key=${agent.id} agent=${agent} />`)}</ul>`
        : html`<${Empty}>${loaded.value ? `No agents yet. ${hive.value.name} makes the manager as it starts.` : "Loading …"}<//>`}
    <//>
  `;
}
