// Where the model comes from: the panel that stands on top while there is no credential.

import { act } from "./api.js";
import { hive, loaded } from "./state.js";
import { Act, Leet, Section, toast } from "./ui.js";
import { html, useState } from "./vendor/preact.js";

const KINDS = {
  api_key: { label: "API key", hint: "From the console of the model's maker. Used by the hive's gateway; no agent ever sees it." },
  token: { label: "Long-lived token", hint: "What `claude setup-token` prints. Used by the hive's gateway; no agent ever sees it." },
};

export function ModelPanel({ always = false, done }) {
  const [kind, setKind] = useState("api_key");
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  if (!loaded.value || (hive.value.model?.ready && !always)) return null;
  async function save(event) {
    event.preventDefault();
    if (busy || !secret) return;
    setBusy(true);
    try {
      await act("model-source", { kind, secret });
      setSecret("");
      done?.();
    } catch (error) {
      toast(error.message);
    } finally {
      setBusy(false);
    }
  }
  return html`
    <${Section} id="model" leet="M0DEL" plain="Model">
      <p>${hive.value.model?.ready
        ? "Choose another source for the model."
        : "The agents have no model yet: give the hive a credential, or look around with the built-in demo."}</p>
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
          act=${async () => { await act("model-source", { kind: "demo", secret: "" }); done?.(); }} />
        <span class="dim small">a scripted model that plays a short story; costs nothing, needs no network</span>
      </div>
    <//>
  `;
}
