// Starts the page: the dashboard at /, one agent at /agents/NAME. One load, then the stream.

import { Agents } from "./agents.js";
import { Approvals } from "./approvals.js";
import { Header } from "./header.js";
import { follow } from "./live.js";
import { Flow, Inbox } from "./mail.js";
import { ModelPanel } from "./model.js";
import { inbox, loadSnapshot, pending } from "./state.js";
import { Confirm, Toasts, toast } from "./ui.js";
import { effect, html, render } from "./vendor/preact.js";

function Dashboard() {
  return html`
    <${Header} />
    <main class="dashboard">
      <h1 class="vh">Dashboard</h1>
      <div class="column">
        <${ModelPanel} />
        <${Agents} />
        <${Approvals} />
      </div>
      <div class="column">
        <${Inbox} />
        <${Flow} />
      </div>
    </main>
    <${Toasts} />
    <${Confirm} />
  `;
}

effect(() => {
  const waiting = pending.value.length + inbox.value.length;
  document.title = waiting ? `(${waiting}) hyperhive` : "hyperhive";
});

async function load() {
  try {
    await loadSnapshot();
    follow();
  } catch (error) {
    toast(error.message);
  }
}

render(html`<${Dashboard} />`, document.getElementById("app"));
load();
