// The page of configurations: every repository, what was deployed and when, the files of each tag,
// what differs, the way back; meta's log, the inputs, and how the forge stands. What it shows is
// asked for again when a fact says that it has changed.

import { act } from "./api.js";
import { DecidedRow } from "./approvals.js";
import { FileContent, FileDiffs } from "./file_diff.js";
import { agentList, lastFacts, number } from "./state.js";
import { fullTime, plural, shortSize, visible } from "./text.js";
import { Act, Age, Empty, Leet, Section, Words, toast } from "./ui.js";
import { html, useEffect, useState } from "./vendor/preact.js";

const TELLING = new Set([
  "ConfigurationSeeded", "ConfigurationDeployed", "ApprovalRequested", "ApprovalMoved", "DeployMoved",
  "InputsUpdated", "MirrorChanged",
]);

/** What a verb answers, asked again after each fact that may have changed it. */
function useAnswer(verb, params) {
  const [answer, setAnswer] = useState({ value: null, error: "" });
  const [asked, setAsked] = useState(0);
  const facts = lastFacts.value;
  useEffect(() => {
    if (facts.some(({ kind }) => TELLING.has(kind))) setAsked(number.peek());
  }, [facts]);
  useEffect(() => {
    let alive = true;
    act(verb, params).then(
      (value) => alive && setAnswer({ value, error: "" }),
      (error) => alive && setAnswer((known) => ({ ...known, error: error.message })),
    );
    return () => (alive = false);
  }, [verb, JSON.stringify(params), asked]);
  return answer;
}

function Waiting({ error }) {
  return html`<p class="dim" role="status">${error ? visible(error) : "Loading …"}</p>`;
}

// --- one agent ------------------------------------------------------------------------------------

function OneFile({ agent, revision, file }) {
  const [content, setContent] = useState(null);
  async function toggled(event) {
    if (!event.currentTarget.open || content) return;
    try {
      setContent(await act("config-file", { agent, path: file.path, revision }));
    } catch (error) {
      toast(error.message);
    }
  }
  return html`
    <details class="file" onToggle=${toggled} data-testid="config-file" data-path=${file.path}>
      <summary><code class="path">${visible(file.path)}</code>
        ${file.mode === "100755" && html`<span class="badge tone-warn">executable</span>`}
        <span class="dim small">${shortSize(file.size)}</span></summary>
      ${content && html`<${FileContent} file=${content} />`}
    </details>
  `;
}

/** The files of a tag or commit, of what is deployed without one. */
export function Files({ agent, revision = "" }) {
  const { value, error } = useAnswer("config-files", { agent, revision });
  if (!value) return html`<${Waiting} error=${error} />`;
  if (value.files.length === 0) return html`<p class="dim">No files.</p>`;
  return html`<div class="files">${value.files.map((file) => html`
    <${OneFile} key=${`${value.commit.sha} ${file.path}`} agent=${agent} revision=${value.commit.sha} file=${file} />`)}</div>`;
}

function Difference({ agent, sha }) {
  const { value, error } = useAnswer("compare", { agent, before: "", after: sha });
  if (!value) return html`<${Waiting} error=${error} />`;
  return html`<div class="files"><p class="small dim">From what runs (<code>${value.before.slice(0, 12)}</code>) to this:</p><${FileDiffs} files=${value.files} /></div>`;
}

function RollBack({ agent, tag }) {
  const [asking, setAsking] = useState(false);
  const [why, setWhy] = useState("");
  if (!asking) {
    return html`<button type="button" data-testid="rollback" aria-label="Roll ${agent} back to ${tag} …" onClick=${() => setAsking(true)}><${Leet} leet="R0LL B4CK …" plain="Roll back …" /></button>`;
  }
  const field = `why-${tag.replace("/", "-")}`;
  return html`
    <div class="stack">
      <label for=${field}>Why go back to ${tag}? <span class="dim">(It is built, and waits for your decision like any proposal.)</span></label>
      <textarea id=${field} rows="2" maxlength="4000" autofocus data-testid="rollback-why" value=${why} onInput=${(event) => setWhy(event.target.value)}></textarea>
      <div class="row end">
        <button type="button" onClick=${() => setAsking(false)}>Cancel</button>
        <${Act} leet="R0LL B4CK" plain="Propose the rollback" name="Propose to roll ${agent} back to ${tag}" kind="go" testid="rollback-confirm"
          act=${async () => {
            const asked = await act("rollback", { agent, tag, description: why });
            setAsking(false);
            toast(`Approval ${asked.id} waits on the dashboard.`, "done");
          }} />
      </div>
    </div>
  `;
}

const TONES = { deployed: "good", failed: "bad", denied: "dim", approved: "busy", building: "busy", proposal: "ask" };

function CommitRow({ agent, commit, running }) {
  const [view, setView] = useState("");
  const deployed = commit.tags.find((tag) => tag.startsWith("deployed/"));
  const choose = (name) => setView(view === name ? "" : name);
  return html`
    <li class="commit-row" data-testid="commit" data-sha=${commit.sha}>
      <div class="line">
        ${commit.tags.map((tag) => html`<span key=${tag} class="badge tone-${TONES[tag.split("/")[0]] ?? "dim"}">${tag}</span>`)}
        <code class="chip">${commit.sha.slice(0, 12)}</code>
        ${running && html`<span class="badge tone-good"><span class="dot" aria-hidden="true"></span>runs</span>`}
        <span class="grow"></span>
        <time class="dim small" dateTime=${commit.at}>${fullTime(commit.at)}</time>
      </div>
      <blockquote class="small"><${Words} text=${commit.message} /><span class="dim">${visible(commit.author)}</span></blockquote>
      <div class="row">
        <button type="button" aria-pressed=${view === "files"} data-testid="show-files" onClick=${() => choose("files")}>Files<span class="vh"> of ${commit.sha.slice(0, 12)}</span></button>
        ${!running && html`<button type="button" aria-pressed=${view === "diff"} data-testid="show-diff" onClick=${() => choose("diff")}>Difference to what runs<span class="vh"> from ${commit.sha.slice(0, 12)}</span></button>`}
        ${deployed && !running && html`<${RollBack} agent=${agent} tag=${deployed} />`}
      </div>
      ${view === "files" && html`<${Files} agent=${agent} revision=${commit.sha} />`}
      ${view === "diff" && html`<${Difference} agent=${agent} sha=${commit.sha} />`}
    </li>
  `;
}

export function AgentConfiguration({ name }) {
  const { value, error } = useAnswer("history", { agent: name });
  const runs = value?.deployment?.sha;
  return html`
    <main class="dashboard wide-page">
      <h1>Configuration of ${name}</h1>
      <p><a href="/configuration">All configurations</a> · <a href="/agents/${name}">${name} at work</a></p>
      <div class="column">
        <${Section} id="commits" leet="C0MM1TS" plain="Commits" count=${value?.commits.length ?? 0}>
          ${!value ? html`<${Waiting} error=${error} />`
            : value.commits.length === 0 ? html`<${Empty}>No configuration yet.<//>`
              : html`<ul class="rows">${value.commits.map((commit) => html`
                  <${CommitRow} key=${commit.sha} agent=${name} commit=${commit} running=${commit.sha === runs} />`)}</ul>`}
        <//>
      </div>
      <div class="column">
        <${Section} id="decisions" leet="D3C1S10NS" plain="Decisions" count=${value?.decisions.length ?? 0}>
          ${value?.decisions.length
            ? html`<ul class="rows">${value.decisions.map((row) => html`<${DecidedRow} key=${row.id} approval=${row} />`)}</ul>`
            : html`<${Empty}>None yet.<//>`}
        <//>
      </div>
    </main>
  `;
}

// --- all of them ----------------------------------------------------------------------------------

const MIRROR_TONES = { in_step: "good", behind: "warn", error: "bad" };

function Mirrored({ mirror }) {
  if (!mirror) return null;
  const lag = mirror.lag_refs > 0 ? `, ${plural(mirror.lag_refs, "ref")} behind` : "";
  return html`<span class="badge tone-${MIRROR_TONES[mirror.state] ?? "dim"}" title=${mirror.error ? visible(mirror.error) : "On the forge"}>forge: ${visible(mirror.state.replaceAll("_", " "))}${lag}${mirror.behind_since && html` <${Age} at=${mirror.behind_since} />`}</span>`;
}

function Repositories({ answer }) {
  const { value, error } = answer;
  const stale = new Set(agentList.value.filter((agent) => agent.deployment?.stale).map((agent) => agent.name));
  return html`
    <${Section} id="repositories" leet="R3P0S1T0R13S" plain="Repositories" count=${value?.repositories.length ?? 0}>
      ${!value ? html`<${Waiting} error=${error} />`
        : value.repositories.length === 0 ? html`<${Empty}>No agent has a configuration yet.<//>`
          : html`<ul class="rows">${value.repositories.map(({ agent, deployment, mirror }) => html`
              <li key=${agent} data-testid="repository-${agent}">
                <div class="line">
                  <a class="name" href="/configuration/${agent}">${agent}</a>
                  <span class="badge tone-good">${deployment.tag}</span><code class="chip">${deployment.sha.slice(0, 12)}</code>
                  ${stale.has(agent) && html`<span class="badge tone-warn">stale</span>`}
                  <${Mirrored} mirror=${mirror} />
                  <span class="grow"></span>
                  <span class="dim small">since ${fullTime(deployment.deployed_at)}</span>
                </div>
                ${mirror?.error && html`<p class="warn-text small">${visible(mirror.error)}</p>`}
              </li>`)}</ul>`}
    <//>
  `;
}

function Forge({ mirror, meta }) {
  if (!mirror) return null;
  return html`
    <${Section} id="forge" leet="F0RG3" plain="Forge">
      ${mirror.configured
        ? html`<p>Everything is copied to <b>${visible(mirror.organisation ?? "")}</b>${mirror.url && html` on <code>${visible(mirror.url)}</code>`}. <${Mirrored} mirror=${meta.mirror} /> <span class="dim">(meta)</span></p>
            ${mirror.error && html`<p class="warn-text">${visible(mirror.error)}</p>`}`
        : html`<p class="dim">No forge is set up: nothing but this host has the configurations. Deploys need none.</p>`}
    <//>
  `;
}

function MetaLog() {
  const { value, error } = useAnswer("meta-log", {});
  return html`
    <${Section} id="meta-log" leet="D3PL0YS" plain="Deploys" count=${value?.commits.length ?? 0}>
      ${!value ? html`<${Waiting} error=${error} />`
        : value.commits.length === 0 ? html`<${Empty}>Nothing was deployed yet.<//>`
          : html`<ol class="rows">${value.commits.map((commit) => html`
              <li key=${commit.sha} data-testid="deploy">
                <div class="line"><code class="chip">${commit.sha.slice(0, 12)}</code> <span>${visible(commit.message.split("\n", 1)[0])}</span>
                  <span class="grow"></span><time class="dim small" dateTime=${commit.at}>${fullTime(commit.at)}</time></div>
              </li>`)}</ol>`}
    <//>
  `;
}

function Inputs() {
  const { value, error } = useAnswer("inputs", {});
  const [ticked, setTicked] = useState(new Set());
  const tick = (name, on) => {
    const next = new Set(ticked);
    if (on) next.add(name);
    else next.delete(name);
    setTicked(next);
  };
  const stale = agentList.value.filter((agent) => agent.deployment?.stale);
  async function update() {
    const asked = await act("update-inputs", { names: [...ticked] });
    setTicked(new Set());
    toast(`Approval ${asked.id}: the inputs are updated, then what depends on them is built.`, "done");
  }
  return html`
    <${Section} id="inputs" leet="1NPUTS" plain="Inputs" count=${value?.inputs.length ?? 0}>
      ${!value ? html`<${Waiting} error=${error} />`
        : value.inputs.length === 0 ? html`<${Empty}>Nothing is built from inputs here.<//>`
          : html`
            <ul class="rows">${value.inputs.map((input) => html`
              <li key=${input.name} data-testid="input-${input.name}">
                <label class="choice"><input type="checkbox" checked=${ticked.has(input.name)} onChange=${(event) => tick(input.name, event.currentTarget.checked)} />
                  <span><b>${visible(input.name)}</b> <code>${visible(input.current)}</code>
                    ${input.locked_at && html` <span class="dim small">of ${fullTime(input.locked_at)}</span>`}${input.url && html` <span class="dim small">${visible(input.url)}</span>`}</span></label>
              </li>`)}</ul>
            <div class="row end">
              <span class="dim small">${ticked.size ? "What was built from them is built again." : "Tick what should be updated."}</span>
              <${Act} leet="UPD4T3" plain="Update" name="Update the ticked inputs" kind="go" testid="update-inputs" disabled=${ticked.size === 0} act=${update} />
            </div>`}
      ${stale.length > 0 && html`
        <div class="row">
          <span>${plural(stale.length, "agent")} built from older inputs: ${stale.map((agent) => agent.name).join(", ")}.</span>
          <${Act} leet="R3BU1LD 4LL" plain="Rebuild all" name="Rebuild all stale agents" testid="rebuild-all"
            act=${async () => { for (const agent of stale) await act("rebuild", { name: agent.name }); }} />
        </div>`}
    <//>
  `;
}

export function Configurations() {
  const answer = useAnswer("repositories", {});
  return html`
    <main class="dashboard">
      <h1 class="vh">Configurations</h1>
      <div class="column">
        <${Repositories} answer=${answer} />
        <${Inputs} />
      </div>
      <div class="column">
        <${Forge} mirror=${answer.value?.mirror} meta=${answer.value?.meta} />
        <${MetaLog} />
      </div>
    </main>
  `;
}
