// The card of a proposal: what it does first, then who asked and why, the build, and every byte.
// A decision names the digest of the card that is shown, never one that the page has not shown.

import { act } from "./api.js";
import { BuildLog } from "./build_log.js";
import { FileDiffs } from "./file_diff.js";
import { visible } from "./text.js";
import { Act, Age, Leet, Until, Words, confirmFirst, shown } from "./ui.js";
import { html, useEffect, useRef, useState } from "./vendor/preact.js";

const BASES = {
  deployed: "what runs",
  approved: "the last approval",
  previous: "the proposal before",
};

/** The card as the hive gives it, loaded again whenever its row has changed. */
function useCard(approval, base) {
  const [state, setState] = useState({ card: null, error: "" });
  const { digest, proposal } = approval;
  useEffect(() => {
    let alive = true;
    act("card", { id: approval.id, base }).then(
      (card) => alive && setState({ card, error: "" }),
      (error) => alive && setState((known) => ({ ...known, error: error.message })),
    );
    return () => (alive = false);
  }, [approval.id, digest, proposal?.build, proposal?.tag, approval.state, base]);
  return state;
}

const TOPICS = {
  secrets: "secret", hosts: "network host", mcp: "MCP server", packages: "package", files: "file in its sandbox",
  tools: "tool", recipients: "recipient", limits: "limit", environment: "environment", model: "model", prompt: "prompt",
};
const SIGNS = { added: "+", removed: "−", changed: "~" };

function Effect({ effect }) {
  const { topic, change, name, before, after, weight } = effect;
  const value = change === "changed" ? html`<code>${visible(before)}</code> → <code>${visible(after)}</code>`
    : (after ?? before) !== name && html`<code>${visible(after ?? before)}</code>`;
  return html`
    <li class="effect" data-testid="effect" data-weight=${weight}>
      <span class="sign ${change}" aria-hidden="true">${SIGNS[change]}</span>
      <span><span class="vh">${change}: </span><span class="dim">${TOPICS[topic] ?? topic}</span> <b>${visible(name)}</b> ${value}</span>
      ${weight === "risk" && html`<span class="badge tone-warn">more power</span>`}
    </li>
  `;
}

function Effects({ card }) {
  const changes = card.effects.changes ?? [];
  const built = card.proposal?.generation;
  return html`
    <section class="effects" aria-label="What it does">
      <h3>What it does</h3>
      ${changes.length
        ? html`<ul>${changes.map((effect, index) => html`<${Effect} key=${index} effect=${effect} />`)}</ul>`
        : html`<p class="dim">${built ? "Nothing that the hive knows of: only files change." : "Known once it is built."}</p>`}
      ${(card.effects.warnings ?? []).map((text, index) => html`<p key=${index} class="warn-text" data-testid="effect-warning">${shown(text)}</p>`)}
      ${(card.missing_secrets ?? []).map((name) => html`
        <p key=${name} class="warn-text" data-testid="missing-secret">The secret <b>${visible(name)}</b> is not set on this host; its
          variable will be missing. Set it with <code>hive secret set ${visible(name)}</code>.</p>`)}
    </section>
  `;
}

const BUILDS = {
  importing: { words: "importing the commit", tone: "busy" },
  queued: { words: "waits to be built", tone: "busy" },
  building: { words: "building", tone: "busy" },
  built: { words: "built", tone: "good" },
  failed: { words: "build failed", tone: "bad" },
  cancelled: { words: "build cancelled", tone: "dim" },
};
const UNDER_WAY = ["importing", "queued", "building"];

async function cancelBuild(approval) {
  const sure = await confirmFirst(
    `Cancel the build for ${approval.agent}?`,
    "The proposal has failed then. Whoever asked is told, and can propose it again.",
    "Cancel the build",
  );
  if (sure) await act("cancel-build", { id: approval.id });
}

export function Build({ approval }) {
  const { proposal } = approval;
  const known = BUILDS[proposal.build] ?? { words: proposal.build, tone: "busy" };
  const running = UNDER_WAY.includes(proposal.build);
  return html`
    <section class="build" aria-label="Build">
      <div class="line">
        <span class="badge tone-${known.tone}" role="status" data-testid="build-state" data-state=${proposal.build}>
          ${running ? html`<span class="spinner" aria-hidden="true"></span>` : html`<span class="dot" aria-hidden="true"></span>`}
          ${known.words}${running && html` <${Age} at=${proposal.changed_at} />`}</span>
        ${proposal.generation && html`<span class="dim small">generation <code>${proposal.generation.slice(0, 12)}</code></span>`}
        <span class="grow"></span>
        ${running && proposal.build !== "importing" && html`<${Act} plain="Cancel build" name="Cancel the build for ${approval.agent}" kind="quiet" testid="cancel-build"
          act=${() => cancelBuild(approval)} />`}
      </div>
      ${proposal.build_note && html`<p class="warn-text" data-testid="build-note">${shown(proposal.build_note)}</p>`}
      ${proposal.origin !== "inputs" && proposal.build !== "importing" && html`<${BuildLog} id=${approval.id} />`}
    </section>
  `;
}

function Reason({ card }) {
  const { approval, commit } = card;
  return html`
    <figure class="quote">
      <figcaption>${visible(card.requested_by)} writes:</figcaption>
      <blockquote>${card.description
        ? html`<${Words} text=${card.description} testid="reason" />`
        : html`<span class="dim">No reason was given.</span>`}</blockquote>
    </figure>
    ${commit && html`
      <details class="commit">
        <summary>commit <code>${commit.sha.slice(0, 12)}</code>${approval.proposal.commit_ref && html` <span class="dim">(asked for as ${visible(approval.proposal.commit_ref)})</span>`}</summary>
        <dl class="facts">
          <dt>commit</dt><dd><code>${commit.sha}</code></dd>
          <dt>tree</dt><dd><code>${approval.proposal.tree}</code></dd>
          <dt>author says</dt><dd>${shown(commit.author)}, ${new Date(commit.at).toLocaleString()}</dd>
          <dt>message says</dt><dd><${Words} text=${commit.message} /></dd>
        </dl>
      </details>`}
  `;
}

function Against({ card, base, choose }) {
  if (card.bases.length < 2) return null;
  return html`
    <div class="row small" role="group" aria-label="Compare with">
      <span class="dim">against</span>
      ${card.bases.map(({ name, sha }) => html`
        <button type="button" key=${name} aria-pressed=${base === name} data-testid="base-${name}" title=${sha}
          onClick=${() => choose(name)}>${BASES[name] ?? name}</button>`)}
    </div>
    ${base !== "deployed" && html`<p class="warn-text small">Approving changes what runs. This shows the difference to ${BASES[base]} only.</p>`}
  `;
}

/** What nobody can have read, with a box to tick for each file. */
function Acknowledge({ id, needs, seen, setSeen }) {
  if (needs.length === 0) return null;
  return html`
    <fieldset class="acknowledge" data-testid="acknowledge">
      <legend>Before you approve: these cannot be taken as read</legend>
      ${needs.map(({ path, reasons }) => html`
        <label key=${path} class="choice">
          <input type="checkbox" checked=${seen.has(path)} data-testid="acknowledge-file" data-path=${path}
            onChange=${(event) => {
              const next = new Set(seen);
              if (event.currentTarget.checked) next.add(path);
              else next.delete(path);
              setSeen(next);
            }} />
          <span><code>${shown(path)}</code>: ${reasons.join(", ")}</span>
        </label>`)}
    </fieldset>
  `;
}

/** Tells when what is shown has become something else under the reader's eyes. */
function useMoved(card) {
  const first = useRef(null);
  const [moved, setMoved] = useState(false);
  useEffect(() => {
    const base = card?.proposal?.base_sha;
    if (base === undefined || base === null) return;
    if (first.current !== null && first.current !== base) setMoved(true);
    first.current = base;
  }, [card]);
  return [moved, () => setMoved(false)];
}

const VERBS = { commit: "apply commit", rollback: "roll back", inputs: "update inputs", rebuild: "rebuild" };

export function kindWords(approval) {
  return VERBS[approval.proposal?.origin] ?? approval.kind;
}

export function Headline({ approval }) {
  return html`
    <div class="line">
      <span class="badge tone-ask">${kindWords(approval)}</span>
      <strong class="name">${approval.agent}</strong>
      <span class="dim">#${approval.id} · asked by <b>${visible(approval.requested_by)}</b> <${Age} at=${approval.requested_at} /> ago</span>
      ${approval.state === "pending" && approval.proposal?.expires_at && html`<span class="dim small">expires<${Until} at=${approval.proposal.expires_at} /></span>`}
    </div>
  `;
}

/** Everything about a proposal, for deciding or for looking back. */
export function CardBody({ approval, card, base, choose }) {
  const inputs = approval.proposal.inputs ?? [];
  return html`
    ${inputs.length
      ? html`<p>Newer versions of <b>${inputs.map(visible).join(", ")}</b>; every agent that was built from them is built again.</p>`
      : html`<${Effects} card=${card} />`}
    <${Reason} card=${card} />
    <${Build} approval=${approval} />
    ${card.commit && html`
      <section class="files" aria-label="Changed files">
        <${Against} card=${card} base=${base} choose=${choose} />
        <${FileDiffs} files=${card.files} />
      </section>`}
  `;
}

/** A proposal that was decided on, for looking back. */
export function PastCard({ approval }) {
  const [base, choose] = useState("deployed");
  const { card, error } = useCard(approval, base);
  if (!card) return html`<p class="dim">${error ? visible(error) : "Loading …"}</p>`;
  return html`<${CardBody} approval=${approval} card=${card} base=${base} choose=${choose} />`;
}

/** A proposal that waits, or is built; `decide` draws the buttons. */
export function ProposalCard({ approval, decide }) {
  const [base, choose] = useState("deployed");
  const { card, error } = useCard(approval, base);
  const [seen, setSeen] = useState(new Set());
  const [moved, settle] = useMoved(card);
  const digest = card?.digest;
  useEffect(() => setSeen(new Set()), [digest]);
  const needs = card?.needs_acknowledgement ?? [];
  const { build } = approval.proposal;
  const fresh = digest === approval.digest;
  const missing = needs.filter(({ path }) => !seen.has(path)).length;
  const hint = error ? visible(error)
    : !card || !fresh ? "loading what it is now …"
      : build !== "built" ? "can be approved once it is built"
        : missing ? `acknowledge ${missing === 1 ? "one file" : `${missing} files`} first` : "";
  return html`
    <${Headline} approval=${approval} />
    ${moved && html`
      <div class="notice" role="alert" data-testid="moved">
        <p>What ${approval.agent} runs has changed since you opened this. Everything below is compared with what runs now: look at it again.</p>
        <button type="button" onClick=${settle}>Seen</button>
      </div>`}
    ${card ? html`<${CardBody} approval=${approval} card=${card} base=${base} choose=${choose} />` : html`<p class="dim">${hint}</p>`}
    <${Acknowledge} id=${approval.id} needs=${needs} seen=${seen} setSeen=${setSeen} />
    ${card && html`<p class="digest">
      Approving names ${card.commit ? html`commit <code>${card.commit.sha.slice(0, 12)}</code>, ` : ""}digest <code>${digest.slice(0, 16)}</code>${card.proposal?.generation && html`, generation <code>${card.proposal.generation.slice(0, 12)}</code>`}.</p>`}
    ${decide({
      ready: card !== null && hint === "" && !moved,
      hint: moved ? "look at it again first" : hint,
      approve: () => act("approve", { id: approval.id, digest, acknowledged: needs.map(({ path }) => path).filter((path) => seen.has(path)) }),
    })}
  `;
}
