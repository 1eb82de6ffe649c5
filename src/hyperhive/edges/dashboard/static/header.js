// The head of every page: where one is, whether what is shown is live, and the look.

import { post } from "./api.js";
import { connection } from "./live.js";
import { hive } from "./state.js";
import { visible } from "./text.js";
import { Act, Age, Leet, confirmFirst } from "./ui.js";
import { html, signal, effect } from "./vendor/preact.js";

const STATES = {
  connecting: { leet: "C0NN3CT1NG", plain: "connecting", tone: "warn" },
  live: { leet: "L1V3", plain: "live", tone: "good" },
  reconnecting: { leet: "R3C0NN3CT1NG", plain: "reconnecting", tone: "bad" },
  paused: { leet: "P4US3D", plain: "paused", tone: "dim" },
};

function Connection() {
  const { state, since } = connection.value;
  const { leet, plain, tone } = STATES[state];
  return html`
    <span class="badge tone-${tone}" role="status" data-testid="connection" data-state=${state}>
      <span class="dot" aria-hidden="true"></span><${Leet} leet=${leet} plain=${plain} />
      ${state === "reconnecting" && html`<span> since <${Age} at=${new Date(since).toISOString()} /></span>`}
    </span>
  `;
}

function stored(key, otherwise) {
  try {
    return localStorage.getItem(key) ?? otherwise;
  } catch {
    return otherwise;
  }
}

const theme = signal(stored("hive-theme", "neon"));
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem("hive-theme", theme.value);
  } catch {
    // Then the look lasts as long as the page.
  }
});

async function signOut(everywhere) {
  if (everywhere) {
    const sure = await confirmFirst("Sign out everywhere?", "Every browser that is signed in to this hive is signed out, and open sign-in links stop working.", "Sign out everywhere");
    if (!sure) return;
  }
  await post("/api/sign-out", { everywhere });
  location.reload();
}

// A menu goes away when something else is meant.
function closeMenu(event) {
  const menu = document.querySelector("details.menu[open]");
  if (!menu || (event.type === "click" && menu.contains(event.target))) return;
  if (event.type === "keydown") {
    if (event.key !== "Escape") return;
    menu.querySelector("summary").focus();
  }
  menu.open = false;
}
document.addEventListener("click", closeMenu);
document.addEventListener("keydown", closeMenu);

export function Header({ agent, place = agent }) {
  const model = hive.value.model ?? {};
  return html`
    <header class="top">
      <a class="logo" href="/" data-testid="home"><span aria-hidden="true">HYP3R<b>H1VE</b></span><span class="vh">hyperhive, the dashboard</span></a>
      ${hive.value.name !== "hive" && html`<span class="chip">${visible(hive.value.name)}</span>`}
      ${place && html`<span class="crumb"><span aria-hidden="true">/</span> ${place}</span>`}
      <span class="grow"></span>
      ${model.kind === "demo" && html`<span class="badge tone-warn" data-testid="demo-badge" title="No real model: a built-in script answers"><span class="wide">scripted</span> demo<span class="wide"> model</span></span>`}
      <${Connection} />
      <details class="menu" data-testid="menu">
        <summary aria-label="Menu">☰</summary>
        <div class="menu-body">
          <button type="button" aria-pressed=${theme.value === "plain"} data-testid="theme"
            onClick=${() => (theme.value = theme.value === "plain" ? "neon" : "plain")}>Plain theme</button>
          <a class="item" href="/configuration" data-testid="menu-configuration">Configurations</a>
          <a class="item" href="/statistics" data-testid="menu-statistics">Statistics</a>
          <a class="item" href="/#model" data-testid="menu-model" onClick=${(event) => (event.currentTarget.closest("details").open = false)}>Choose a model</a>
          <${Act} plain="Sign out" testid="sign-out" act=${() => signOut(false)} />
          <${Act} plain="Sign out everywhere" testid="sign-out-everywhere" act=${() => signOut(true)} />
          <span class="dim small">hyperhive ${visible(hive.value.version ?? "")}</span>
        </div>
      </details>
    </header>
  `;
}
