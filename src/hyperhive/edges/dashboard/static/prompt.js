// The prompt below the terminal: a message for the agent, or a command about it.

import { act, newKey } from "./api.js";
import { asMessage, completions, runCommand } from "./commands.js";
import { Leet, toast } from "./ui.js";
import { html, useRef, useState } from "./vendor/preact.js";

export function Prompt({ agent, state }) {
  const { name } = agent;
  const box = useRef(null);
  const key = useRef(null);
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [picked, setPicked] = useState(0);
  const [closed, setClosed] = useState(false);
  const offered = closed ? [] : completions(text);
  const at = Math.min(picked, Math.max(0, offered.length - 1));

  function write(next) {
    key.current = null;
    setText(next);
    setClosed(false);
    setPicked(0);
  }

  function pick(command) {
    write(`/${command.name}${command.takes ? " " : ""}`);
    setClosed(true);
    box.current?.focus();
  }

  async function post(body) {
    key.current ??= newKey();
    try {
      await act("send", { to: name, body, key: key.current });
      key.current = null;
      return true;
    } catch (error) {
      toast(error.message);
      return false;
    }
  }

  async function command() {
    try {
      state.tell(text.trim(), await runCommand(text, { agent, state }), true);
      return true;
    } catch (error) {
      // It stays in the box, to be mended or sent as text.
      state.tell(text.trim(), error.message, false);
      return false;
    }
  }

  async function send() {
    if (busy || !text.trim()) return;
    const written = text;
    setBusy(true);
    const body = asMessage(text);
    const done = body === null ? await command() : await post(body);
    // Only what was done goes away: the operator may have typed on meanwhile.
    if (done) setText((now) => (now === written ? "" : now));
    setBusy(false);
  }

  function onKey(event) {
    if (event.isComposing) return;
    if (offered.length) {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        setPicked((at + (event.key === "ArrowDown" ? 1 : offered.length - 1)) % offered.length);
        return;
      }
      const whole = text === `/${offered[at].name}`;
      if (event.key === "Tab" || (event.key === "Enter" && !event.shiftKey && !whole)) {
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

  return html`
    <div class="prompt">
      <span class="prompt-mark" aria-hidden="true">❯</span>
      <div class="completing">
        <textarea ref=${box} rows="1" aria-label="Message to ${name}" placeholder="Message to ${name}, or /help …" title="Enter sends, Shift+Enter breaks"
          role="combobox" aria-autocomplete="list" aria-expanded=${offered.length > 0} aria-controls="prompt-commands"
          aria-activedescendant=${offered.length ? `prompt-command-${offered[at].name}` : undefined}
          data-testid="prompt" value=${text} onKeyDown=${onKey} onInput=${(event) => write(event.target.value)}></textarea>
        ${offered.length > 0 && html`
          <ul id="prompt-commands" class="completion above" role="listbox" aria-label="Commands" data-testid="commands">
            ${offered.map((each, index) => html`
              <li key=${each.name} id="prompt-command-${each.name}" role="option" aria-selected=${index === at}
                onMouseDown=${(event) => { event.preventDefault(); pick(each); }}>/${each.name} <span class="dim small">${each.takes ?? ""} ${each.about}</span></li>`)}
          </ul>`}
      </div>
      <button type="button" class="primary" aria-label="Send to ${name}" aria-disabled=${busy || !text.trim()} aria-busy=${busy}
        data-testid="prompt-send" onClick=${send}><${Leet} leet="S3ND" plain="Send" /></button>
    </div>
  `;
}
