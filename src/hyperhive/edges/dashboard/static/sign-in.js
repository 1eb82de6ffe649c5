// The way in: exchanges the secret of a one-time link, which came in the fragment, for a session.

import { html, render, signal } from "./vendor/preact.js";

const state = signal({ step: "idle", error: "" });
const pasted = signal("");

function takeSecret() {
  const secret = location.hash.slice(1);
  if (secret) history.replaceState(null, "", location.pathname);
  return secret;
}

async function exchange(token) {
  state.value = { step: "busy", error: "" };
  try {
    const response = await fetch("/api/sign-in", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Hive": "page" },
      body: JSON.stringify({ token }),
    });
    if (response.ok) {
      location.replace(location.pathname === "/sign-in" ? "/" : location.pathname);
      return;
    }
    const problem = await response.json();
    state.value = { step: "idle", error: problem.detail };
  } catch {
    state.value = { step: "idle", error: "cannot sign in: the hive does not answer; is it running?" };
  }
}

function submit(event) {
  event.preventDefault();
  const text = pasted.value.trim();
  const token = text.includes("#") ? text.slice(text.indexOf("#") + 1) : text;
  if (token && state.value.step !== "busy") exchange(token);
}

function Page() {
  const { step, error } = state.value;
  return html`
    <main class="sign-in" data-testid="sign-in-page">
      <h1 class="logo"><span aria-hidden="true">HYP3R<b>H1VE</b></span><span class="vh">hyperhive</span></h1>
      ${step === "busy"
        ? html`<p role="status">Signing in …</p>`
        : html`
            ${error && html`<p class="problem" role="alert" data-testid="sign-in-error">${error}</p>`}
            <p>You are signed out. On the machine that runs the hive, type</p>
            <p><code class="command">hive login</code></p>
            <p>and open the link that it prints. A link works once, for ten minutes.</p>
            <form onSubmit=${submit} class="stack">
              <label for="link">Or paste the link here</label>
              <div class="row">
                <input
                  id="link"
                  type="password"
                  autocomplete="off"
                  data-testid="sign-in-input"
                  value=${pasted.value}
                  onInput=${(event) => (pasted.value = event.target.value)}
                />
                <button class="primary" type="submit" data-testid="sign-in-button">Sign in</button>
              </div>
            </form>
          `}
    </main>
  `;
}

function begin() {
  const secret = takeSecret();
  if (secret) exchange(secret);
}

addEventListener("hashchange", begin);
render(html`<${Page} />`, document.getElementById("app"));
begin();
