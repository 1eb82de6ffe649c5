// Where the model comes from: the panel that stands on top while there is no credential, or one that
// is refused, and whenever it is asked for by the address (/#model).

import { act } from "./api.js";
import { agentList, hive, loaded } from "./state.js";
import { Act, Section, toast } from "./ui.js";
import { computed, html, signal, useState } from "./vendor/preact.js";

const PLACE = "#model";
const asked = signal(location.hash === PLACE);
addEventListener("hashchange", () => (asked.value = location.hash === PLACE));

function putAway() {
  if (location.hash === PLACE) history.replaceState(null, "", location.pathname);
  asked.value = false;
}

/** What is wrong with the model, as a sentence; empty when nothing is known to be. */
const trouble = computed(() => {
  if (!loaded.value) return "";
  if (!hive.value.model?.ready) return "The agents have no model yet: give the hive a credential, or look around with the built-in demo.";
  const refused = agentList.value.filter((agent) => agent.phase === "running" && agent.turn_state === "needs_login");
  if (refused.length) return "The model's side refuses the credential, and mail waits: give the hive another.";
  return "";
});

const KINDS = {
  api_key: { label: "API key", hint: "From the console of the model's maker. Used by the hive's gateway; no agent ever sees it." },
  token: { label: "Long-lived token", hint: "What `claude setup-token` prints. Used by the hive's gateway; no agent ever sees it." },
};

const SOURCES = { none: "nowhere", api_key: "an API key", token: "a long-lived token", demo: "the scripted demo" };

/** One line for pages without the panel; nothing when all is well. */
export function ModelHint() {
  return trouble.value && html`<p class="hint" role="status" data-testid="model-hint">${trouble.value} <a href="/${PLACE}">Choose a model</a></p>`;
}

export function ModelPanel() {
  const [kind, setKind] = useState("api_key");
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  if (!loaded.value || (!trouble.value && !asked.value)) return null;
  async function save(event) {
    event.preventDefault();
    if (busy || !secret) return;
    setBusy(true);
    try {
      await act("model-source", { kind, secret });
      setSecret("");
      putAway();
    } catch (error) {
      toast(error.message);
    } finally {
      setBusy(false);
    }
  }
  return html`
    <${Section} id="model" leet="M0DEL" plain="Model" aside=${!trouble.value && html`
      <button type="button" data-testid="model-close" onClick=${putAway}>Close</button>`}>
      <p class=${trouble.value && hive.value.model?.ready ? "warn-text" : ""} role="status">${trouble.value
        || `The model comes from ${SOURCES[hive.value.model?.kind] ?? "somewhere"}. You can choose another source; agents go on with it.`}</p>
      <form class="stack" onSubmit=${save}>
        <fieldset class="row">
          <legend class="vh">Kind of credential</legend>
          ${Object.entries(KINDS).map(([value, { label }]) => html`
            <label key=${value} class="choice"><input type="radio" name="kind" value=${value} checked=${kind === value}
              onChange=${() => setKind(value)} data-testid="model-kind-${value}" /> ${label}</label>`)}
        </fieldset>
        <label for="model-secret">${KINDS[kind].label}</label>
        <div class="row">
          <input id="model-secret" type="password" autocomplete="off" aria-describedby="model-hint" data-testid="model-secret"
            value=${secret} onInput=${(event) => setSecret(event.target.value)} />
          <button type="submit" class="primary" aria-disabled=${busy || !secret} data-testid="model-save">Use it</button>
        </div>
        <p id="model-hint" class="dim small">${KINDS[kind].hint}</p>
      </form>
      <div class="row">
        <${Act} leet="D3M0" plain="Demo" name="Use the scripted demo model" testid="model-demo"
          act=${async () => { await act("model-source", { kind: "demo", secret: "" }); putAway(); }} />
        <span class="dim small">a scripted model that plays a short story; costs nothing, needs no network</span>
      </div>
    <//>
  `;
}
