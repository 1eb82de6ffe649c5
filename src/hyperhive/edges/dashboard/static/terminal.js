// The live terminal: sticks to its end while one is there, and counts what comes while one is not.

import { Body } from "./mail.js";
import { clockTime, duration, fullTime, plural, visible } from "./text.js";
import { Result, ToolCall } from "./tools.js";
import { Act, Empty, Words, shown } from "./ui.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";

const NEAR_END = 60;
const LONG = { characters: 20_000, lines: 400 };

function Time({ at }) {
  return html`<time class="at" dateTime=${at} title=${fullTime(at)}>${clockTime(at)}</time>`;
}

function Wake({ item }) {
  const { data } = item;
  const mail = { type: data.type, body: data.body };
  return html`
    ${item.afterLost && html`<div class="turn-end failed"><span class="mark" aria-hidden="true">■</span> turn lost</div>`}
    ${item.begins && html`
      <div class="turn-start"><${Time} at=${item.at} /><span class="mark" aria-hidden="true">▶</span> turn, woken by <b>${visible(data.from)}</b></div>`}
    <div class="woken" data-testid="woken">
      <span class="dim small">${visible(data.from)} #${data.id}${data.redelivered ? " · redelivered" : ""}${data.in_reply_to ? ` · ↩ #${data.in_reply_to}` : ""}</span>
      <${Body} message=${mail} />
    </div>
  `;
}

function Compaction({ item }) {
  return html`
    ${item.afterLost && html`<div class="turn-end failed"><span class="mark" aria-hidden="true">■</span> turn lost</div>`}
    <div class="turn-start"><${Time} at=${item.at} /><span class="mark" aria-hidden="true">⇲</span> compacting the session: ${visible(item.data.why)}</div>
  `;
}

/** What the operator ordered with the prompt, and the answer. */
function Command({ item }) {
  const { command, answer, good } = item.data;
  return html`
    <div class="command ${good ? "" : "failed"}" role=${good ? "status" : "alert"} data-testid=${good ? "command" : "command-error"}>
      <${Time} at=${item.at} /><b>❯ ${visible(command)}</b>
      <div class="answer">${visible(answer)}</div>
    </div>
  `;
}

function Ended({ item }) {
  const { data } = item;
  const good = data.outcome === "ok";
  const what = data.kind === "compaction" ? "compaction" : "turn";
  const parts = [];
  if (item.lasted !== undefined) parts.push(duration(item.lasted));
  if (data.tool_calls > 0) parts.push(plural(data.tool_calls, "tool call"));
  const cost = Number(data.usage?.cost_usd);
  if (cost > 0) parts.push(`$${cost.toFixed(4)}`);
  return html`
    <div class="turn-end ${good ? "" : "failed"}">
      <${Time} at=${item.at} /><span class="mark" aria-hidden="true">■</span> ${good ? `${what} done` : visible(`${what} ${String(data.outcome).replaceAll("_", " ")}`)}
      ${parts.length > 0 && html` <span class="dim">· ${parts.join(" · ")}</span>`}
      ${data.note && html` <span>· ${visible(data.note)}</span>`}
    </div>
  `;
}

function Item({ item }) {
  const { data } = item;
  switch (item.kind) {
    case "wake":
      return html`<${Wake} item=${item} />`;
    case "text":
      return html`<${Words} text=${data.text} fold=${LONG} kind="said" />`;
    case "thinking":
      return data.text ? html`<details class="thought"><summary>thinking</summary><${Words} text=${data.text} fold=${LONG} /></details>` : null;
    case "tool_use":
      return html`<${ToolCall} item=${item} />`;
    case "tool_result":
      return html`<div class="tool"><${Result} result=${item.data} /></div>`;
    case "result":
      return html`<${Ended} item=${item} />`;
    case "compaction":
      return html`<${Compaction} item=${item} />`;
    case "command":
      return html`<${Command} item=${item} />`;
    case "note":
      return html`<div class="note"><${Time} at=${item.at} />${shown(data.text)}</div>`;
    default:
      return html`<div class="note">${visible(item.kind)}: ${visible(JSON.stringify(data))}</div>`;
  }
}

// An item never changes, so what it looks like is kept beside it and is not compared again.
const looks = new WeakMap();

function look(item) {
  let node = looks.get(item);
  if (!node) {
    node = html`<li key=${item.number} class="event-${item.kind}" data-testid="event" data-kind=${item.kind}><${Item} item=${item} /></li>`;
    looks.set(item, node);
  }
  return node;
}

export function Terminal({ state }) {
  const box = useRef(null);
  const atEnd = useRef(true);
  const seen = useRef(0);
  const held = useRef(null);
  const [missed, setMissed] = useState(0);
  const items = state.items.value;
  const last = items.length ? state.last : 0;

  useLayoutEffect(() => {
    const area = box.current;
    if (held.current !== null) {
      // Older rows came in above: what was under the eyes stays there.
      area.scrollTop += area.scrollHeight - held.current;
      held.current = null;
    } else if (atEnd.current) {
      area.scrollTop = area.scrollHeight;
      seen.current = last;
    } else {
      setMissed(items.filter((item) => item.number > seen.current).length);
    }
  }, [items]);

  useEffect(() => {
    // The box may grow or shrink under us (a keyboard on a phone): stay at the end if we were there.
    const watch = new ResizeObserver(() => {
      if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
    });
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);

  function scrolled() {
    const area = box.current;
    atEnd.current = area.scrollHeight - area.scrollTop - area.clientHeight < NEAR_END;
    if (atEnd.current) {
      seen.current = last;
      if (missed) setMissed(0);
      state.trim();
    }
  }

  function toEnd() {
    atEnd.current = true;
    box.current.scrollTop = box.current.scrollHeight;
    setMissed(0);
  }

  return html`
    <div class="terminal-frame">
      <div class="terminal" ref=${box} onScroll=${scrolled} tabIndex="0" role="log" aria-live="off" aria-label="Terminal of ${state.agent}" data-testid="terminal">
        ${state.more.value && html`
          <div class="row center"><${Act} plain="Load older" name="Load older events" kind="quiet" testid="older"
            act=${async () => { held.current = box.current.scrollHeight; await state.older(); }} /></div>`}
        ${state.loaded.value && items.length === 0 && html`<${Empty}>Nothing yet: ${state.agent} has not had a turn. Send a message below.<//>`}
        <ol class="events">${items.map(look)}</ol>
      </div>
      ${missed > 0 && html`<button type="button" class="pill" data-testid="new-pill" onClick=${toEnd}>${missed} new ↓</button>`}
    </div>
  `;
}
