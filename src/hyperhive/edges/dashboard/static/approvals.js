// Approvals: what agents ask for. A decision names exactly what was shown (its digest).

import { act } from "./api.js";
import { BuildLog } from "./build_log.js";
import { Headline, PastCard, ProposalCard, kindWords } from "./card.js";
import { decided, hive, pending, working } from "./state.js";
import { fullTime, visible } from "./text.js";
import { Act, Age, Empty, Leet, Section, Words, toast } from "./ui.js";
import { html, useRef, useState } from "./vendor/preact.js";

const NAME_PATTERN = "[a-z][a-z0-9]*(-[a-z0-9]+)*";

function Reason({ approval }) {
  if (!approval.description) return html`<p class="dim">No reason was given.</p>`;
  return html`
    <figure class="quote">
      <figcaption>${visible(approval.requested_by)} writes:</figcaption>
      <blockquote><${Words} text=${approval.description} testid="reason" /></blockquote>
    </figure>
  `;
}

/** The buttons under a card, and the note of a denial. */
function Decide({ approval, ready = true, hint = "", approve }) {
  const [denying, setDenying] = useState(false);
  const [note, setNote] = useState("");
  const what = `${kindWords(approval)} ${approval.agent}`;
  if (denying) {
    return html`
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
    `;
  }
  return html`
    <div class="row end decide">
      ${hint && html`<span class="dim small" id="hint-${approval.id}" role="status" data-testid="decide-hint">${hint}</span>`}
      <${Act} plain="Withdraw" name="Withdraw ${what} for ${visible(approval.requested_by)}" kind="quiet" testid="withdraw"
        act=${() => act("withdraw", { id: approval.id })} />
      <button type="button" aria-label="Deny ${what} with a note" data-testid="deny"
        onClick=${() => setDenying(true)}><${Leet} leet="D3NY …" plain="Deny …" /></button>
      <${Act} leet="APPR0VE" plain="Approve" name="Approve ${what}" kind="go" testid="approve" disabled=${!ready}
        describedby=${hint ? `hint-${approval.id}` : undefined} act=${approve} />
    </div>
  `;
}

function SpawnCard({ approval }) {
  const hosts = hive.value.allowed_hosts ?? [];
  return html`
    <${Headline} approval=${approval} />
    <p>A new agent named <b>${approval.agent}</b>, with a sandbox and rights of its own: an ordinary agent,${" "}
      ${hosts.length ? html`whose network is the model and <b>${hosts.map(visible).join(", ")}</b>` : "without network but the model"}.</p>
    <${Reason} approval=${approval} />
    <p class="digest">digest <code>${approval.digest.slice(0, 16)}</code></p>
    <${Decide} approval=${approval} approve=${() => act("approve", { id: approval.id, digest: approval.digest })} />
  `;
}

function PendingCard({ approval }) {
  return html`
    <li class="card pending" data-testid="approval-${approval.id}">
      ${approval.proposal
        ? html`<${ProposalCard} approval=${approval} decide=${(given) => html`<${Decide} approval=${approval} ...${given} />`} />`
        : html`<${SpawnCard} approval=${approval} />`}
    </li>
  `;
}

const WORK = {
  commit: { leet: "D3PL0Y1NG", plain: "deploying" },
  rollback: { leet: "R0LL1NG B4CK", plain: "rolling back" },
  rebuild: { leet: "R3BU1LD1NG", plain: "rebuilding" },
  inputs: { leet: "UPD4T1NG", plain: "updating inputs" },
};
const STEPS = {
  tagging: "pinning what was approved",
  switching: "switching to what was built",
  checking: "waiting for it to answer",
  recording: "writing it down",
};

function WorkingCard({ approval }) {
  const { proposal } = approval;
  const work = WORK[proposal?.origin] ?? { leet: "SP4WN1NG", plain: "spawning" };
  const building = proposal && ["queued", "building"].includes(proposal.build);
  return html`
    <li class="card working" data-testid="approval-${approval.id}">
      <span class="spinner" aria-hidden="true"></span>
      <span role="status"><b>${approval.agent}</b> ${approval.kind === "rebuild" ? "" : "is approved: "}<${Leet} leet=${work.leet} plain=${work.plain} /> <${Age} at=${approval.changed_at} />
        ${proposal && html` <span class="dim small" data-testid="step">${building ? proposal.build : STEPS[proposal.step] ?? ""}</span>`}</span>
      ${building && html`<${BuildLog} id=${approval.id} />`}
    </li>
  `;
}

const OUTCOME_TONES = { deployed: "good", denied: "dim", failed: "bad", withdrawn: "dim", expired: "warn" };

export function DecidedRow({ approval }) {
  const [open, setOpen] = useState(false);
  return html`
    <li class="decided" data-testid="approval-${approval.id}">
      <div class="line">
        <span class="badge tone-${OUTCOME_TONES[approval.state] ?? "dim"}">${approval.state}</span>
        <span>${kindWords(approval)} <b>${approval.agent}</b></span>
        ${approval.proposal?.sha && html`<code class="chip">${approval.proposal.sha.slice(0, 12)}</code>`}
        ${approval.proposal?.tag && html`<span class="chip">${approval.proposal.tag}</span>`}
        <span class="dim">#${approval.id}, asked by ${visible(approval.requested_by)}</span>
      </div>
      <div class="dim small">
        ${approval.decided_at
          ? html`by ${visible(approval.decided_by)} on the ${visible(approval.decided_via)}, ${fullTime(approval.decided_at)}`
          : html`changed ${fullTime(approval.changed_at)}`}
      </div>
      ${approval.note && html`<blockquote class="small"><${Words} text=${approval.note} /></blockquote>`}
      ${approval.proposal && html`
        <details class="past" onToggle=${(event) => setOpen(event.currentTarget.open)} data-testid="past-card">
          <summary>What was asked for<span class="vh"> in approval ${approval.id}</span></summary>
          ${open && html`<div class="card"><${PastCard} approval=${approval} /></div>`}
        </details>`}
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
