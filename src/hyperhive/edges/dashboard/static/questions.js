// Questions: what agents ask the operator, and each other. The section is always there (S70).

import { act } from "./api.js";
import { askedOfAgents, askedOfOperator, endedQuestions } from "./state.js";
import { fullTime, visible } from "./text.js";
import { Act, Age, Empty, Leet, Section, Until, Words, toast } from "./ui.js";
import { html, useState } from "./vendor/preact.js";

const TONES = { answered: "good", expired: "warn", cancelled: "dim" };

/** The options as buttons of choice: one, or several; none is right as well. */
function Options({ question, picks, setPicks }) {
  if (!question.options.length) return null;
  function choose(option, on) {
    if (!question.multi) setPicks(on ? [option] : []);
    // In the order of the options, whatever was clicked first.
    else setPicks(question.options.filter((each) => (each === option ? on : picks.includes(each))));
  }
  return html`
    <fieldset class="options">
      <legend class="dim small">${question.multi ? "Pick any, or write below" : "Pick one, or write below"}</legend>
      ${question.options.map((option, index) => html`
        <label key=${option} class="choice">
          <input type="checkbox" checked=${picks.includes(option)} data-testid="option-${index}"
            onChange=${(event) => choose(option, event.target.checked)} />
          <span class="words" dir="auto">${visible(option)}</span>
        </label>`)}
    </fieldset>
  `;
}

function Answer({ question }) {
  const [picks, setPicks] = useState([]);
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const empty = !picks.length && !text.trim();
  async function submit(event) {
    event.preventDefault();
    if (busy || empty) return;
    setBusy(true);
    try {
      await act("answer", { id: question.id, picks, text });
    } catch (error) {
      toast(error.message);
    } finally {
      setBusy(false);
    }
  }
  return html`
    <form class="stack" onSubmit=${submit}>
      <${Options} question=${question} picks=${picks} setPicks=${setPicks} />
      <label for="answer-${question.id}" class=${question.options.length ? "dim small" : "vh"}>
        ${question.options.length ? "In your own words" : "Your answer"}</label>
      <textarea id="answer-${question.id}" rows="2" maxlength="32000" data-testid="answer-text"
        value=${text} onInput=${(event) => setText(event.target.value)}
        onKeyDown=${(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
        }}></textarea>
      <div class="row end">
        <${Act} plain="Cancel question" name="Cancel question ${question.id} of ${visible(question.from)}" kind="quiet"
          testid="cancel-question" act=${() => act("cancel-question", { id: question.id })} />
        <button type="submit" class="go" aria-label="Answer question ${question.id}" aria-disabled=${busy || empty}
          aria-busy=${busy} data-testid="answer"><${Leet} leet="4NSW3R" plain="Answer" /></button>
      </div>
    </form>
  `;
}

function OpenCard({ question }) {
  return html`
    <li class="card pending" data-testid="question-${question.id}">
      <div class="line">
        <strong class="name">${visible(question.from)}</strong>
        ${question.to !== "operator" && html`<span class="dim">asks <b>${visible(question.to)}</b></span>`}
        <span class="dim">#${question.id} · <${Age} at=${question.asked_at} /> ago</span>
        ${question.expires_at && html`
          <span class="badge tone-warn" data-testid="countdown" title="Until ${fullTime(question.expires_at)}">ends<${Until} at=${question.expires_at} /></span>`}
      </div>
      <${Words} text=${question.question} testid="question-text" />
      <${Answer} question=${question} />
    </li>
  `;
}

function EndedRow({ question }) {
  const by = question.state === "expired" ? "nobody answered" : `by ${visible(question.answered_by)} on the ${visible(question.answered_via)}`;
  return html`
    <li class="decided" data-testid="question-${question.id}">
      <div class="line">
        <span class="badge tone-${TONES[question.state] ?? "dim"}">${question.state}</span>
        <span><b>${visible(question.from)}</b> asked <b>${visible(question.to)}</b></span>
        <span class="dim">#${question.id}</span>
      </div>
      <${Words} text=${question.question} />
      ${question.state === "answered" && html`<blockquote><${Words} text=${question.answer} testid="given-answer" /></blockquote>`}
      <div class="dim small">${by}, ${fullTime(question.changed_at)}</div>
    </li>
  `;
}

const TABS = [["waiting", "waiting"], ["agents", "between agents"], ["history", "history"]];

export function Questions() {
  const [tab, setTab] = useState("waiting");
  const mine = askedOfOperator.value;
  const theirs = askedOfAgents.value;
  const tabs = html`
    <div class="tabs" role="group" aria-label="Which questions">
      ${TABS.map(([name, label]) => html`
        <button key=${name} type="button" aria-pressed=${tab === name} data-testid="questions-${name}"
          onClick=${() => setTab(name)}>${label}${name === "agents" && theirs.length ? ` ${theirs.length}` : ""}</button>`)}
    </div>
  `;
  return html`
    <${Section} id="questions" leet="QU3ST10NS" plain="Questions" count=${mine.length} urgent=${true} aside=${tabs}>
      ${tab === "waiting" && (mine.length
        ? html`<ul class="rows">${mine.map((each) => html`<${OpenCard} key=${each.id} question=${each} />`)}</ul>`
        : html`<${Empty}>No question waits for you.<//>`)}
      ${tab === "agents" && (theirs.length
        ? html`<ul class="rows">${theirs.map((each) => html`<${OpenCard} key=${each.id} question=${each} />`)}</ul>`
        : html`<${Empty}>No agent waits for another's answer.<//>`)}
      ${tab === "history" && (endedQuestions.value.length
        ? html`<ul class="rows">${endedQuestions.value.map((each) => html`<${EndedRow} key=${each.id} question=${each} />`)}</ul>`
        : html`<${Empty}>No question has been answered yet.<//>`)}
    <//>
  `;
}
