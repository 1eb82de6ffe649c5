// What waits: every agent that begins no turn, why, until when, and a button that lets it go on.
// Below it, what may be spent in a day; asked for when opened, not before.

import { act } from "./api.js";
import { agentList, loaded } from "./state.js";
import { fullTime, shortNumber, visible } from "./text.js";
import { Act, Age, Empty, Section, Until, toast } from "./ui.js";
import { computed, html, useState } from "./vendor/preact.js";

const REASONS = {
  budget: "budget", loop: "loop", operator: "paused", rate_limited: "rate limit", needs_login: "needs login",
  failed: "failed turn", crashed: "crashed", halted: "halted",
};

const waits = computed(() => agentList.value.flatMap((agent) => (agent.waiting ?? []).map((wait) => ({ agent, wait }))));

function Wait({ agent, wait }) {
  const { name } = agent;
  return html`
    <li class="agent" data-testid="wait-${name}" data-reason=${wait.reason}>
      <div class="line">
        <a class="name" href="/agents/${name}">${name}</a>
        <span class="badge tone-warn"><span class="dot" aria-hidden="true"></span>${REASONS[wait.reason] ?? wait.reason.replaceAll("_", " ")} <${Age} at=${wait.since} /></span>
        ${agent.unread > 0 && html`<span class="badge tone-mail">${agent.unread} unread</span>`}
        <span class="grow"></span>
        <${Act} leet="L3T G0" plain="Let it go on" name="Let ${name} go on" testid="go-on" kind="go" act=${() => act(wait.go_on, { name })} />
      </div>
      <div class="line second"><span class="status" dir="auto">${visible(wait.text)} · ${
        wait.until ? html`until <time dateTime=${wait.until}>${fullTime(wait.until)}</time><${Until} at=${wait.until} />` : "until you act"
      }</span></div>
    </li>
  `;
}

/** An empty field is no limit; a zero says the same. */
function number(text) {
  const value = text.trim() === "" ? 0 : Number(text);
  if (Number.isNaN(value)) throw new Error(`cannot set that budget: "${text.trim()}" is not a number`);
  return value;
}

function Budget({ row, changed }) {
  const [usd, setUsd] = useState(String(row.usd_per_day ?? ""));
  const [tokens, setTokens] = useState(String(row.tokens_per_day ?? ""));
  const who = row.agent ?? "the whole hive";
  const id = row.agent ?? "(hive)";
  async function save(given) {
    changed(await act("set-budget", { name: row.agent, ...given }));
  }
  return html`
    <tr data-testid="budget-${id}">
      <th scope="row">${who}</th>
      <td>$${row.spent_usd.toFixed(row.spent_usd < 1 ? 4 : 2)}</td>
      <td><input inputmode="decimal" size="7" aria-label="US dollars a day of ${who}" placeholder="none" value=${usd} data-testid="budget-usd"
        onInput=${(event) => setUsd(event.target.value)} /></td>
      <td>${shortNumber(row.spent_tokens)}</td>
      <td><input inputmode="numeric" size="10" aria-label="Tokens a day of ${who}" placeholder="none" value=${tokens} data-testid="budget-tokens"
        onInput=${(event) => setTokens(event.target.value)} /></td>
      <td class="row">
        <${Act} plain="Set" name="Set the budget of ${who}" testid="budget-set"
          act=${() => save({ usd_per_day: number(usd), tokens_per_day: number(tokens) })} />
        ${!row.is_default && html`<${Act} plain="Default" name="Let the default count for ${who}" kind="quiet" testid="budget-clear" act=${() => save({ clear: true })} />`}
        ${row.times_today > 1 && html`<span class="dim small">${row.times_today} times today</span>`}
      </td>
    </tr>
  `;
}

function Budgets() {
  const [found, setFound] = useState(null);
  async function toggled(event) {
    if (!event.currentTarget.open) return;
    try {
      setFound(await act("budgets", {}));
    } catch (error) {
      toast(error.message);
    }
  }
  return html`
    <details class="log" onToggle=${toggled} data-testid="budgets">
      <summary>Budgets</summary>
      ${found && html`
        <div class="budgets" tabIndex="0" role="region" aria-label="Budgets of today">
          <table>
            <thead><tr><th scope="col">who</th><th scope="col">spent today</th><th scope="col">$ a day</th><th scope="col">tokens today</th><th scope="col">tokens a day</th><th scope="col"><span class="vh">actions</span></th></tr></thead>
            <tbody>${found.budgets.map((row) => html`<${Budget} key=${`${row.agent}${row.usd_per_day}${row.tokens_per_day}`} row=${row} changed=${setFound} />`)}</tbody>
          </table>
        </div>
        <p class="dim small">At list prices. This day ends <time dateTime=${found.ends_at}>${fullTime(found.ends_at)}</time>; then everybody goes on.</p>`}
    </details>
  `;
}

export function Waiting() {
  const rows = waits.value;
  return html`
    <${Section} id="waiting" leet="W41T1NG" plain="Waiting" count=${rows.length} urgent=${true}>
      ${rows.length
        ? html`<ul class="rows">${rows.map(({ agent, wait }) => html`<${Wait} key=${`${agent.id}${wait.reason}`} agent=${agent} wait=${wait} />`)}</ul>`
        : html`<${Empty}>${loaded.value ? "Nothing waits." : "Loading …"}<//>`}
      <${Budgets} />
    <//>
  `;
}
