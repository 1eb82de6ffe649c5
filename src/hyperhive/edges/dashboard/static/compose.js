// The compose box: `@name` picks a recipient who stays until another is picked.

import { act, newKey } from "./api.js";
import { draft, focusAsked, recipient, replyTo, suggest } from "./compose_state.js";
import { agentList, hive } from "./state.js";
import { Leet, toast } from "./ui.js";
import { html, useEffect, useRef, useState } from "./vendor/preact.js";

/** As a recipient: every agent. */
const EVERYBODY = "*";
const STORY = "I could use a helper. Please ask for an agent named scout and give it a first small task.";

/** The part of the text that names a recipient: "@ma" at its start, and nothing after it yet. */
function mention(text) {
  const match = /^@([a-z0-9-]*|\*)$/.exec(text);
  return match ? match[1] : null;
}

export function Compose() {
  const box = useRef(null);
  const [picked, setPicked] = useState(0);
  const [closed, setClosed] = useState(false);
  const [busy, setBusy] = useState(false);
  // One key per text: when an answer was lost, sending again is the same message.
  const key = useRef(null);

  const typed = closed ? null : mention(draft.value);
  const names = [...agentList.value.map((agent) => agent.name), EVERYBODY];
  const offered = typed === null ? [] : names.filter((name) => name.startsWith(typed)).slice(0, 8);
  const at = Math.min(picked, Math.max(0, offered.length - 1));

  useEffect(() => {
    if (focusAsked.value > 0) box.current?.focus();
  }, [focusAsked.value]);

  function write(text) {
    const match = /^@([a-z0-9-]+|\*)\s/.exec(text);
    if (match && names.includes(match[1])) {
      recipient.value = match[1];
      replyTo.value = null;
      draft.value = text.slice(match[0].length);
    } else {
      draft.value = text;
    }
    key.current = null;
    setClosed(false);
    setPicked(0);
  }

  function pick(name) {
    recipient.value = name;
    replyTo.value = null;
    draft.value = "";
    box.current?.focus();
  }

  async function send() {
    const body = draft.value;
    if (busy || !body.trim()) return;
    setBusy(true);
    key.current ??= newKey();
    try {
      const params = { to: recipient.value, body, key: key.current };
      if (replyTo.value !== null) params.in_reply_to = replyTo.value;
      await act("send", params);
      key.current = null;
      // Only what was sent goes away: the operator may have typed on meanwhile.
      if (draft.value === body) draft.value = "";
      replyTo.value = null;
    } catch (error) {
      toast(error.message);
    } finally {
      setBusy(false);
    }
  }

  function onKey(event) {
    if (event.isComposing) return;
    if (offered.length) {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        setPicked((at + (event.key === "ArrowDown" ? 1 : offered.length - 1)) % offered.length);
        return;
      }
      if (event.key === "Enter" || event.key === "Tab") {
        event.preventDefault();
        pick(offered[at]);
        return;
      }
      if (event.key === "Escape") {
        setClosed(true);
        return;
      }
    }
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    }
  }

  const who = recipient.value === EVERYBODY ? "everybody" : recipient.value;
  const demo = hive.value.model?.kind === "demo";
  return html`
    <div class="compose" data-testid="compose">
      <div class="line">
        <label for="compose-text">To</label>
        <span class="chip recipient" data-testid="recipient">@${recipient.value}</span>
        ${replyTo.value !== null && html`
          <span class="chip">↩ #${replyTo.value}
            <button type="button" class="quiet" aria-label="Not a reply" onClick=${() => (replyTo.value = null)}>×</button>
          </span>`}
        <span class="grow"></span>
        <span class="dim small">@name or @* picks · Enter sends · Shift+Enter breaks</span>
      </div>
      <div class="completing">
        <textarea id="compose-text" ref=${box} rows="2" data-testid="compose-text"
          placeholder="Write to ${who === recipient.value ? `@${who}` : who} …" aria-label="Message to ${who}"
          role="combobox" aria-autocomplete="list" aria-expanded=${offered.length > 0} aria-controls="compose-names"
          aria-activedescendant=${offered.length ? `compose-name-${offered[at]}` : undefined}
          value=${draft.value} onInput=${(event) => write(event.target.value)} onKeyDown=${onKey}></textarea>
        ${offered.length > 0 && html`
          <ul id="compose-names" class="completion" role="listbox" aria-label="Recipients" data-testid="completion">
            ${offered.map((name, index) => html`
              <li key=${name} id="compose-name-${name}" role="option" aria-selected=${index === at}
                onMouseDown=${(event) => { event.preventDefault(); pick(name); }}>@${name}</li>`)}
          </ul>`}
      </div>
      <div class="row">
        ${demo && html`
          <button type="button" class="quiet suggestion" data-testid="suggestion"
            onClick=${() => { key.current = null; suggest("manager", STORY); }}>Ask the manager for a helper</button>`}
        <span class="grow"></span>
        <button type="button" class="primary" aria-label="Send to ${who}" aria-disabled=${busy || !draft.value.trim()}
          aria-busy=${busy} data-testid="send" onClick=${send}><${Leet} leet="S3ND" plain="Send" /></button>
      </div>
    </div>
  `;
}
