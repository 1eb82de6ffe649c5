// Starts the page: the dashboard at /, one agent at /agents/NAME. One load, then the stream.

import { Agents } from "./agents.js";
import { AgentPage, watchAgent } from "./agent_page.js";
import { Approvals } from "./approvals.js";
import { AgentConfiguration, Configurations } from "./configuration.js";
import { Header } from "./header.js";
import { attach, follow } from "./live.js";
import { Flow, Inbox } from "./mail.js";
import { ModelPanel } from "./model.js";
import { Questions } from "./questions.js";
import { agentList, askedOfOperator, inbox, loadSnapshot, pending } from "./state.js";
import { Statistics } from "./statistics.js";
import { TerminalState } from "./terminal_state.js";
import { Confirm, Toasts, toast } from "./ui.js";
import { Waiting } from "./waiting.js";
import { computed, effect, html, render } from "./vendor/preact.js";

function Dashboard() {
  return html`
    <${Header} />
    <main class="dashboard">
      <h1 class="vh">Dashboard</h1>
      <div class="column">
        <${ModelPanel} />
        <${Agents} />
        <${Waiting} />
        <${Approvals} />
      </div>
      <div class="column">
        <${Questions} />
        <${Inbox} />
        <${Flow} />
      </div>
    </main>
    <${Toasts} />
    <${Confirm} />
  `;
}

function Agent({ name, terminal }) {
  return html`
    <${Header} agent=${name} />
    <${AgentPage} name=${name} terminal=${terminal} />
    <${Toasts} />
    <${Confirm} />
  `;
}

function Configuration({ name }) {
  return html`
    <${Header} place=${name ? `configuration / ${name}` : "configuration"} />
    ${name ? html`<${AgentConfiguration} name=${name} />` : html`<${Configurations} />`}
    <${Toasts} />
    <${Confirm} />
  `;
}

function StatisticsPage() {
  return html`
    <${Header} place="statistics" />
    <${Statistics} />
    <${Toasts} />
    <${Confirm} />
  `;
}

const configuration = /^\/configuration(?:\/([^/]+))?$/.exec(location.pathname);
const name = /^\/agents\/([^/]+)$/.exec(location.pathname)?.[1];
const terminal = name && new TerminalState(name);

effect(() => {
  if (name) return;
  const waiting = pending.value.length + askedOfOperator.value.length + inbox.value.length;
  document.title = waiting ? `(${waiting}) hyperhive` : "hyperhive";
});

const isHere = computed(() => agentList.value.some((agent) => agent.name === name));

function watch() {
  watchAgent(name);
  return attach(terminal);
}

async function load() {
  await loadSnapshot();
  if (isHere.value) await watch();
  follow();
  if (isHere.value || !name) return;
  // The page was opened before its agent exists.
  const waiting = isHere.subscribe((here) => {
    if (!here) return;
    queueMicrotask(() => waiting());
    watch().catch((error) => toast(error.message));
  });
}

function page() {
  if (location.pathname === "/statistics") return html`<${StatisticsPage} />`;
  if (configuration) return html`<${Configuration} name=${configuration[1]} />`;
  return name ? html`<${Agent} name=${name} terminal=${terminal} />` : html`<${Dashboard} />`;
}

render(page(), document.getElementById("app"));
load().catch((error) => toast(error.message));
