// The page of statistics: what turns of the last days came to, by agent and model. It is worked out
// when the page is opened, when another time is chosen and on request, never by itself.

import { act } from "./api.js";
import { agentList } from "./state.js";
import { fullTime, plural, shortNumber, visible } from "./text.js";
import { Act, Empty, Section } from "./ui.js";
import { html, useEffect, useState } from "./vendor/preact.js";

const PERIODS = [
  { days: 1, name: "24 hours" },
  { days: 7, name: "7 days" },
  { days: 30, name: "30 days" },
];
const OUTCOME_TONES = { ok: "good", failed: "bad", needs_login: "bad", lost: "bad", too_long: "bad", rate_limited: "warn", interrupted: "dim", running: "busy" };

const money = (usd) => (usd === 0 ? "$0" : usd < 0.01 ? "<$0.01" : `$${usd.toFixed(2)}`);
const percent = (share) => (share === null ? "–" : `${Math.round(share * 100)} %`);
const given = (row) => row.input_tokens + row.cache_read_tokens + row.cache_write_tokens;

function seconds(value) {
  if (value === null) return "–";
  if (value < 60) return `${value.toFixed(1)} s`;
  return value < 3600 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

function Outcomes({ outcomes }) {
  const found = Object.entries(outcomes).filter(([, count]) => count > 0);
  if (found.length === 0) return "–";
  return found.map(([name, count]) => html`<span key=${name} class="badge tone-${OUTCOME_TONES[name] ?? "dim"}">${count} ${name.replaceAll("_", " ")}</span>`);
}

/** A part of all as a bar; the number beside it says the same. */
function Bar({ part }) {
  return html`
    <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <rect class="bar-all" width="100" height="6" /><rect class="bar-part" width=${Math.max(0, Math.min(100, part * 100))} height="6" />
    </svg>
  `;
}

function Figure({ name, value, more, testid }) {
  return html`<div class="figure"><dt>${name}</dt><dd data-testid=${testid}>${value}</dd>${more && html`<dd class="dim small">${more}</dd>`}</div>`;
}

function Total({ total }) {
  return html`
    <dl class="figures" data-testid="stats-total">
      <${Figure} name="Turns" value=${total.turns} more=${`${plural(total.tool_calls, "tool call")}`} testid="stats-turns" />
      <${Figure} name="Money" value=${money(total.cost_usd)} more="at list prices" testid="stats-money" />
      <${Figure} name="Tokens in" value=${shortNumber(given(total))} more=${`${percent(total.cache_share)} from the cache`} testid="stats-in" />
      <${Figure} name="Tokens out" value=${shortNumber(total.output_tokens)} />
      <${Figure} name="Half took at most" value=${seconds(total.p50_seconds)} />
      <${Figure} name="95 % took at most" value=${seconds(total.p95_seconds)} testid="stats-p95" />
    </dl>
    <div class="row"><${Outcomes} outcomes=${total.outcomes} /></div>
  `;
}

const HEADS = ["Agent", "Model", "Turns", "Money", "Tokens in", "From cache", "Tokens out", "Half", "95 %", "Context now", "Woken by"];

function Row({ row, all, exists }) {
  // On a phone each row is a card; the roles keep it a table for readers, data-head names the cells.
  const cell = (index, content, kind = "number-cell") => html`<td role="cell" class=${kind} data-head=${HEADS[index]}>${content}</td>`;
  const name = visible(row.agent);
  return html`
    <tr role="row" data-testid="stats-row" data-agent=${row.agent} data-model=${row.model}>
      <th role="rowheader" scope="row">${exists ? html`<a class="name" href="/agents/${row.agent}">${name}</a>` : html`<span class="name">${name}</span>`}</th>
      ${cell(1, html`<span class="chip">${visible(row.model) || "–"}</span>`, "")}
      ${cell(2, html`<span>${row.turns}</span> <span class="marks"><${Outcomes} outcomes=${row.outcomes} /></span>`)}
      ${cell(3, html`<span>${money(row.cost_usd)}</span> <${Bar} part=${all ? row.cost_usd / all : 0} />`)}
      ${cell(4, shortNumber(given(row)))}
      ${cell(5, percent(row.cache_share))}
      ${cell(6, shortNumber(row.output_tokens))}
      ${cell(7, seconds(row.p50_seconds))}
      ${cell(8, seconds(row.p95_seconds))}
      ${cell(9, html`<span title=${`at most ${shortNumber(row.context_max_tokens)} in these days`}>${row.context_tokens === null ? "–" : shortNumber(row.context_tokens)}</span>`)}
      ${cell(10, row.woke.map((one) => html`<span key=${one.name} class="woke">${visible(one.name) || "–"} ${one.turns}</span>`), "")}
    </tr>
  `;
}

function Rows({ view }) {
  const here = new Set(agentList.value.map((agent) => agent.name));
  return html`
    <table class="stats-table" role="table" data-testid="stats-table">
      <caption class="vh">Turns since ${fullTime(view.since)} by agent and model, the dearest first</caption>
      <thead role="rowgroup"><tr role="row">${HEADS.map((head) => html`<th key=${head} role="columnheader" scope="col">${head}</th>`)}</tr></thead>
      <tbody role="rowgroup">${view.rows.map((row) => html`
        <${Row} key=${`${row.agent} ${row.model}`} row=${row} all=${view.total.cost_usd} exists=${here.has(row.agent)} />`)}</tbody>
    </table>
  `;
}

export function Statistics() {
  const [days, setDays] = useState(7);
  const [answer, setAnswer] = useState({ view: null, error: "" });
  async function look(chosen) {
    const view = await act("stats", { days: chosen });
    setAnswer((known) => (view.days === chosen ? { view, error: "" } : known));
  }
  useEffect(() => {
    let alive = true;
    act("stats", { days }).then(
      (view) => alive && setAnswer({ view, error: "" }),
      (error) => alive && setAnswer({ view: null, error: error.message }),
    );
    return () => (alive = false);
  }, [days]);
  const { view, error } = answer;
  const waiting = !view || view.days !== days;
  return html`
    <main class="dashboard wide-page statistics">
      <h1>Statistics</h1>
      <div class="row choices">
        <div class="tabs" role="group" aria-label="Turns of the last">
          ${PERIODS.map((each) => html`<button key=${each.days} type="button" aria-pressed=${each.days === days} data-testid="stats-days-${each.days}" onClick=${() => setDays(each.days)}>${each.name}</button>`)}
        </div>
        <${Act} plain="Look again" testid="stats-refresh" act=${() => look(days)} />
        <span class="grow"></span>
        <a href="/api/statistics.csv?days=${days}" download data-testid="stats-csv">Download as CSV</a>
        <a href="/metrics" data-testid="stats-metrics">Metrics</a>
      </div>
      <${Section} id="statistics" leet="ST4T1ST1CS" plain="Turns" count=${view?.total.turns ?? 0}>
        ${waiting ? html`<p class="dim" role="status">${error ? visible(error) : "Loading …"}</p>`
          : view.rows.length === 0 ? html`<${Empty}>No turn in this time.<//>`
            : html`<${Total} total=${view.total} /><${Rows} view=${view} />
                <p class="dim small">As of <time dateTime=${view.at}>${fullTime(view.at)}</time>. Turns that were lost count with what they had used, but not among the times.</p>`}
      <//>
    </main>
  `;
}
