// How each tool call is shown: for reading, not as JSON.

import { diffLines } from "./diff.js";
import { plural, printed, shortSize, visible } from "./text.js";
import { Words, shown } from "./ui.js";
import { html, useState } from "./vendor/preact.js";

const SHORT_LINES = 4;
const SHORT_CHARACTERS = 400;
/** What the claude program puts around its own refusals. */
const ERROR_TAGS = /^<tool_use_error>([^]*)<\/tool_use_error>$/;
const LONG = { characters: 4000, lines: 60 };

function text(value) {
  return typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
}

function Lines({ rows, words }) {
  const [open, setOpen] = useState(rows.length <= 24);
  const seen = open ? rows : rows.slice(0, 12);
  return html`
    <pre class="diff" aria-label=${words}>${seen.map(
      ({ mark, text: line }, index) => html`<span key=${index} class=${mark === "+" ? "add" : mark === "-" ? "remove" : ""}>${mark} ${shown(line)}${"\n"}</span>`,
    )}</pre>
    ${!open && html`<button type="button" class="quiet" onClick=${() => setOpen(true)}>show all ${rows.length} lines</button>`}
  `;
}

function Path({ path }) {
  return html`<span class="path">${visible(text(path))}</span>`;
}

function Fields({ input }) {
  const entries = Object.entries(input ?? {});
  return entries.map(([key, value]) => html`<span class="field" key=${key}><i>${visible(key)}</i> ${shown(text(value))}</span>`);
}

const marks = { pending: "☐", in_progress: "◐", completed: "☑" };

const SHOW = {
  Bash: (input) => ({
    head: html`<span class="dim">${visible(text(input.description))}</span>`,
    body: html`<pre class="command-line">$ ${shown(text(input.command))}</pre>`,
  }),
  Write: (input) => ({
    head: html`<${Path} path=${input.file_path} />`,
    body: html`<${Lines} words="new content" rows=${text(input.content).replace(/\n$/, "").split("\n").map((line) => ({ mark: "+", text: line }))} />`,
  }),
  Edit: (input) => ({
    head: html`<${Path} path=${input.file_path} />${input.replace_all ? html` <span class="dim">everywhere</span>` : ""}`,
    body: html`<${Lines} words="change" rows=${diffLines(text(input.old_string), text(input.new_string))} />`,
  }),
  Read: (input) => ({
    head: html`<${Path} path=${input.file_path} /> ${input.offset !== undefined && html`<span class="dim">from line ${text(input.offset)}</span>`}`,
  }),
  Glob: (input) => ({ head: html`<code>${visible(text(input.pattern))}</code> <${Path} path=${input.path} />` }),
  Grep: (input) => ({ head: html`<code>${visible(text(input.pattern))}</code> <${Path} path=${input.path ?? input.glob} />` }),
  TodoWrite: (input) => ({
    body: html`<ul class="todos">${(Array.isArray(input.todos) ? input.todos : []).map((todo, index) => html`
      <li key=${index} class=${todo?.status}>${marks[todo?.status] ?? "☐"} ${visible(text(todo?.content))}</li>`)}</ul>`,
  }),
  mcp__hive__send: (input) => ({
    name: "send",
    head: html`<span aria-hidden="true">→</span> <b>${visible(text(input.to))}</b>`,
    body: html`<${Words} text=${text(input.body)} fold=${LONG} />`,
  }),
  mcp__hive__recv: (input) => ({
    name: "recv",
    head: html`<span class="dim">${input.wait_seconds ? `waits up to ${text(input.wait_seconds)} s for mail` : "looks for mail"}</span>`,
  }),
  mcp__hive__set_status: (input) => ({ name: "set status", head: html`<q>${visible(text(input.text ?? input.status))}</q>` }),
  mcp__hive__whoami: () => ({ name: "whoami" }),
  mcp__hive__peers: () => ({ name: "peers" }),
  mcp__hive__request_spawn: (input) => ({
    name: "request spawn",
    head: html`<b>${visible(text(input.name))}</b>`,
    body: input.description && html`<${Words} text=${text(input.description)} fold=${LONG} />`,
  }),
};

function parsed(content) {
  try {
    return JSON.parse(content);
  } catch {
    return null;
  }
}

/** The answer of one of the hive's own tools in words; undefined when it has none. */
function answerInWords(tool, content) {
  const found = parsed(content);
  if (found === null || typeof found !== "object") return undefined;
  switch (tool) {
    case "mcp__hive__send":
      if (Array.isArray(found.to)) return html`<div class="tool-result dim">sent to ${found.to.map((each) => visible(text(each))).join(", ") || "nobody"}</div>`;
      return html`<div class="tool-result dim">sent as #${text(found.id)}</div>`;
    case "mcp__hive__set_status":
      return null;
    case "mcp__hive__recv": {
      const mail = Array.isArray(found.messages) ? found.messages : [];
      if (mail.length === 0) return html`<div class="tool-result dim">no mail</div>`;
      return mail.map((message, index) => html`
        <div class="woken" key=${index}><span class="dim small">${visible(text(message?.from))} #${text(message?.id)}</span>
          <${Words} text=${text(message?.body)} /></div>`);
    }
    case "mcp__hive__whoami":
      return html`<div class="tool-result dim">${visible(text(found.name))}, ${visible(text(found.role))}</div>`;
    case "mcp__hive__peers": {
      const others = Array.isArray(found.agents) ? found.agents : [];
      if (others.length === 0) return html`<div class="tool-result dim">nobody else is here</div>`;
      return others.map((agent, index) => html`
        <div class="tool-result dim" key=${index}><b>${visible(text(agent?.name))}</b>
          ${" "}${visible(text(agent?.phase === "running" ? agent?.state : agent?.phase))}${agent?.status ? html` <q>${visible(text(agent.status))}</q>` : ""}</div>`);
    }
    case "mcp__hive__request_spawn":
      return html`<div class="tool-result dim">approval #${text(found.approval)} is ${visible(text(found.state))}</div>`;
    default:
      return undefined;
  }
}

/** What a call came back with; long results are folded with their size. */
export function Result({ result, tool = "" }) {
  const words = result.is_error ? undefined : answerInWords(tool, result.content);
  if (words !== undefined) return words;
  const failed = result.is_error ? "failed" : "";
  const output = printed(text(result.content)).replace(ERROR_TAGS, "$1");
  const cut = result.missing > 0 ? `\n… (${plural(result.missing, "more character")})` : "";
  const lines = output.split("\n").length;
  if (output === "") return html`<div class="tool-result dim">(no output)</div>`;
  const long = lines > SHORT_LINES || output.length > SHORT_CHARACTERS;
  if (!long) return html`<pre class="tool-result ${failed}">${shown(output)}${cut}</pre>`;
  const first = output.slice(0, 160).split("\n", 1)[0];
  return html`
    <details class="tool-result ${failed}" data-testid="tool-result">
      <summary>${failed ? "error" : "result"}: ${plural(lines, "line")}, ${shortSize(output.length + (result.missing ?? 0))} <span class="dim preview">${visible(first)}</span></summary>
      <pre>${shown(output)}${cut}</pre>
    </details>
  `;
}

/** One call of a tool, with its result once there is one. */
export function ToolCall({ item }) {
  const input = item.data.input ?? {};
  const raw = text(item.data.name) || "tool";
  const parts = Object.hasOwn(SHOW, raw) ? SHOW[raw](input) : { head: html`<${Fields} input=${input} />` };
  const name = parts.name ?? raw.replace(/^mcp__/, "").replaceAll("__", " · ");
  const hive = raw.startsWith("mcp__hive__");
  return html`
    <div class="tool ${hive ? "hive" : ""}" data-testid="tool" data-tool=${raw}>
      <div class="tool-head"><span class="tool-name">${visible(name)}</span> ${parts.head}</div>
      ${parts.body}
      ${item.result ? html`<${Result} result=${item.result} tool=${raw} />` : html`<div class="tool-result dim">…</div>`}
    </div>
  `;
}
