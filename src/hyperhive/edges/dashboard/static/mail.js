// Mail: the operator's inbox and the flow of all messages, each with where it stands.

import { act } from "./api.js";
import { writeTo } from "./compose_state.js";
import { Compose } from "./compose.js";
import { inbox, loadOlderMessages, messageList, messages } from "./state.js";
import { clockTime, fullTime, visible } from "./text.js";
import { Act, Age, Empty, Section, Words, shown } from "./ui.js";
import { html, useState } from "./vendor/preact.js";

const STATE_TONES = { queued: "busy", leased: "mail", handled: "dim", dead: "bad" };
const STATE_MEANINGS = {
  queued: "waits for its recipient",
  leased: "a turn works on it",
  handled: "a turn has handled it",
  dead: "five deliveries failed; it stays here until you requeue it",
};

/** A system event as one readable line; null when the body is not what it should be. */
export function readEvent(message) {
  if (message.type !== "event") return null;
  try {
    const body = JSON.parse(message.body);
    if (typeof body?.event !== "string") return null;
    const rest = Object.entries(body).filter(([key, value]) => key !== "event" && value !== null && value !== "");
    return {
      name: body.event.replaceAll("_", " "),
      fields: rest.map(([key, value]) => [key, typeof value === "object" ? JSON.stringify(value) : String(value)]),
    };
  } catch {
    return null;
  }
}

export function Body({ message }) {
  const event = readEvent(message);
  if (!event) return html`<${Words} text=${message.body} testid="body" />`;
  return html`
    <div class="event" data-testid="body">
      <b>${visible(event.name)}</b>
      ${event.fields.map(([key, value]) => html`<span class="field" key=${key}><i>${visible(key)}</i> ${shown(value)}</span>`)}
    </div>
  `;
}

function InboxCard({ message }) {
  return html`
    <li class="card mail" data-testid="inbox-${message.id}">
      <div class="line">
        <strong class="name">${visible(message.from)}</strong>
        <span class="dim">#${message.id} · <${Age} at=${message.sent_at} /> ago</span>
      </div>
      <${Body} message=${message} />
      <div class="row end">
        ${message.from !== "system" && html`
          <button type="button" aria-label="Reply to ${message.from}" data-testid="reply"
            onClick=${() => writeTo(message.from, message.id)}>Reply</button>`}
        <${Act} plain="Mark handled" name="Mark message ${message.id} handled" kind="go" testid="handled"
          act=${() => act("handled", { id: message.id })} />
      </div>
    </li>
  `;
}

export function Inbox() {
  const waiting = inbox.value;
  return html`
    <${Section} id="inbox" leet="0PER4TOR INB0X" plain="Operator inbox" count=${waiting.length} urgent=${true}>
      ${waiting.length
        ? html`<ul class="rows">${waiting.map((each) => html`<${InboxCard} key=${each.id} message=${each} />`)}</ul>`
        : html`<${Empty}>No mail waits for you.<//>`}
    <//>
  `;
}

function jumpTo(id) {
  const row = document.getElementById(`message-${id}`);
  if (!row) return;
  row.scrollIntoView({ block: "nearest" });
  row.focus({ preventScroll: true });
}

export function MessageRow({ message, replies = true }) {
  const tone = STATE_TONES[message.state] ?? "dim";
  const known = message.in_reply_to !== null && messages.value.has(message.in_reply_to);
  const answerable = replies && message.from !== "operator" && message.from !== "system";
  return html`
    <li class="message ${message.state}" id="message-${message.id}" tabIndex="-1" data-testid="message-${message.id}">
      <div class="line">
        <span class="route"><b>${visible(message.from)}</b> <span aria-hidden="true">→</span><span class="vh"> to </span> <b>${visible(message.to)}</b></span>
        <span class="dim small">#${message.id}</span>
        ${message.in_reply_to !== null && html`
          <button type="button" class="quiet" aria-label="Show message ${message.in_reply_to}, to which this replies"
            aria-disabled=${!known} onClick=${() => jumpTo(message.in_reply_to)}>↩ #${message.in_reply_to}</button>`}
        ${answerable && html`
          <button type="button" class="quiet" aria-label="Reply to ${message.from} about message ${message.id}"
            onClick=${() => writeTo(message.from, message.id)}>reply</button>`}
        ${message.redelivered && html`<span class="badge tone-warn" title="An earlier turn died with it">redelivered ×${message.deliveries - 1}</span>`}
        <span class="stamp"><span class="badge tone-${tone}" data-testid="message-state" title=${STATE_MEANINGS[message.state]}>${message.state}</span>
          <time class="dim mono small" dateTime=${message.sent_at} title=${fullTime(message.sent_at)}>${clockTime(message.sent_at)}</time></span>
      </div>
      <${Body} message=${message} />
      ${message.state === "dead" && html`
        <div class="row end">
          <${Act} plain="Requeue" name="Requeue message ${message.id}" testid="requeue"
            act=${() => act("requeue", { id: message.id })} />
        </div>`}
    </li>
  `;
}

export function Flow() {
  const rows = messageList.value;
  const [ended, setEnded] = useState(false);
  return html`
    <${Section} id="flow" leet="MESS4GE FL0W" plain="Message flow">
      <${Compose} />
      ${rows.length === 0 && html`<${Empty}>No message yet. Write the first one above.<//>`}
      <ol class="rows messages" reversed>
        ${rows.map((each) => html`<${MessageRow} key=${each.id} message=${each} />`)}
      </ol>
      ${rows.length >= 100 && !ended && html`
        <div class="row center">
          <${Act} plain="Load older" name="Load older messages" kind="quiet" testid="older-messages"
            act=${async () => setEnded((await loadOlderMessages()) === 0)} />
        </div>`}
    <//>
  `;
}
