// Approvals: what agents ask for. A decision names exactly what was shown (its digest).

import { act } from "./api.js";
import { decided, hive, pending, working } from "./state.js";
import { fullTime, visible } from "./text.js";
import { Act, Age, Empty, Leet, Section, Words, toast } from "./ui.js";
import { html, useRef, useState } from "./vendor/preact.js";

const NAME_PATTERN = "[a-z][a-z0-9]*(-[a-z0-9]+)*";

function Headline({ approval }) {
  return html`
    <div class="line">
      <span class="badge tone-ask">${approval.kind}</span>
      <strong class="name">${approval.agent}</strong>
      <span class="dim">#${approval.id} · asked by <b>${visible(approval.requested_by)}</b> <${Age} at=${approval.requested_at} /> ago</span>
    </div>
  `;
}

function Reason({ approval }) {
  if (!approval.description) return html`<p class="dim">No reason was given.</p>`;
  return html`
    <figure class="quote">
      <figcaption>${visible(approval.requested_by)} writes:</figcaption>
      <blockquote><${Words} text=${approval.description} testid="reason" /></blockquote>
    </figure>
  `;
}

function PendingCard({ approval }) {
  const [denying, setDenying] = useState(false);
  const [note, setNote] = useState("");
  const what = `${approval.kind} ${approval.agent}`;
  const hosts = hive.value.allowed_hosts ?? [];
  return html`
    <li class="card pending" data-testid="approval-${approval.id}">
      <${Headline} approval=${approval} />
      <p>A new agent named <b>${approval.agent}</b>, with a sandbox and rights of its own: an ordinary agent,${" "}
        ${hosts.length ? html`whose network is the model and <b>${hosts.map(visible).join(", ")}</b>` : "without network but the model"}.</p>
      <${Reason} approval=${approval} />
      <p class="digest">digest <code>${approval.digest.slice(0, 16)}</code></p>
      ${denying
        ? html`
            <div class="stack">
              <label for="note-${approval.id}">Note to ${visible(approval.requested_by)} (optional)</label>
              <textarea id="note-${approval.id}" rows="2" maxlength="4000" autofocus data-testid="deny-note"
                value=${note} onInput=${(event) => setNote(event.target.value)}></textarea>
              <div class="row end">
                <button type="button" onClick=${() => setDenying(false)}>Cancel</button>
                <${Act} leet="D3NY" plain="Deny" name="Deny ${what}" kind="danger" testid="deny-confirm"
                  act=${() => act("deny", { id: approval.id, note })} />
              </div>
            </div>
          `
        : html`
            <div class="row end">
              <button type="button" aria-label="Deny ${what} with a note" data-testid="deny"
                onClick=${() => setDenying(true)}><${Leet} leet="D3NY …" plain="Deny …" /></button>
              <${Act} leet="APPR0VE" plain="Approve" name="Approve ${what}" kind="go" testid="approve"
                act=${() => act("approve", { id: approval.id, digest: approval.digest })} />
            </div>
          `}
    </li>
  `;
}

function WorkingCard({ approval }) {
  return html`
    <li class="card working" data-testid="approval-${approval.id}" role="status">
      <span class="spinner" aria-hidden="true"></span>
      <span><b>${approval.agent}</b> is approved: <${Leet} leet="SP4WN1NG" plain="spawning" /> <${Age} at=${approval.changed_at} /></span>
    </li>
  `;
}

const OUTCOME_TONES = { deployed: "good", denied: "dim", failed: "bad", withdrawn: "dim", expired: "warn" };

function DecidedRow({ approval }) {
  return html`
    <li class="decided" data-testid="approval-${approval.id}">
      <div class="line">
        <span class="badge tone-${OUTCOME_TONES[approval.state] ?? "dim"}">${approval.state}</span>
        <span>${approval.kind} <b>${approval.agent}</b></span>
        <span class="dim">#${approval.id}, asked by ${visible(approval.requested_by)}</span>
      </div>
      <div class="dim small">
        ${approval.decided_at
          ? html`by ${visible(approval.decided_by)} on the ${visible(approval.decided_via)}, ${fullTime(approval.decided_at)}`
          : html`changed ${fullTime(approval.changed_at)}`}
      </div>
      ${approval.note && html`<blockquote class="small"><${Words} text=${approval.note} /></blockquote>`}
    </li>
  `;
}

function SpawnForm() {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useRef(null);
  async function submit(event) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    try {
      await act("request-spawn", { name: name.trim(), description });
      setName("");
      setDescription("");
      field.current?.focus();
    } catch (error) {
      toast(error.message);
    } finally {
      setBusy(false);
    }
  }
  return html`
    <details class="spawn" data-testid="spawn-form">
      <summary><${Leet} leet="R3QU3ST SP4WN" plain="Request spawn" /></summary>
      <form class="stack" onSubmit=${submit}>
        <label for="spawn-name">Name <span class="dim">(lower-case letters, digits, single hyphens)</span></label>
        <input id="spawn-name" ref=${field} required maxlength="32" pattern=${NAME_PATTERN} autocomplete="off"
          title="lower-case letters, digits, single hyphens" autocapitalize="none" spellcheck=${false} data-testid="spawn-name"
          value=${name} onInput=${(event) => setName(event.target.value)} />
        <label for="spawn-why">Why</label>
        <textarea id="spawn-why" rows="2" maxlength="4000" data-testid="spawn-description"
          value=${description} onInput=${(event) => setDescription(event.target.value)}></textarea>
        <div class="row end">
          <button type="submit" class="primary" aria-label="Request spawn" aria-disabled=${busy} data-testid="spawn-submit">
            <${Leet} leet="R3QU3ST" plain="Request" />
          </button>
        </div>
      </form>
    </details>
  `;
}

export function Approvals() {
  const [tab, setTab] = useState("waiting");
  const open = pending.value;
  const busy = working.value;
  const closed = decided.value;
  const tabs = html`
    <div class="tabs" role="group" aria-label="Which approvals">
      <button type="button" aria-pressed=${tab === "waiting"} data-testid="approvals-waiting" onClick=${() => setTab("waiting")}>waiting</button>
      <button type="button" aria-pressed=${tab === "history"} data-testid="approvals-history" onClick=${() => setTab("history")}>history</button>
    </div>
  `;
  return html`
    <${Section} id="approvals" leet="APPR0VALS" plain="Approvals" count=${open.length} urgent=${true} aside=${tabs}>
      ${tab === "waiting"
        ? html`
            ${open.length + busy.length === 0 && html`<${Empty}>Nothing waits for your decision.<//>`}
            <ul class="rows">
              ${busy.map((each) => html`<${WorkingCard} key=${each.id} approval=${each} />`)}
              ${open.map((each) => html`<${PendingCard} key=${each.id} approval=${each} />`)}
            </ul>
          `
        : html`
            ${closed.length === 0 && html`<${Empty}>No decisions yet.<//>`}
            <ul class="rows">${closed.map((each) => html`<${DecidedRow} key=${each.id} approval=${each} />`)}</ul>
          `}
      <${SpawnForm} />
    <//>
  `;
}
