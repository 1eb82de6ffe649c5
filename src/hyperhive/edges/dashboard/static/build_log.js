// The log of one build at a time, live through the one stream of the page.

import { followBuild, watchedBuild } from "./live.js";
import { html, useEffect, useRef } from "./vendor/preact.js";

const NEAR = 24;

function Lines({ id }) {
  const box = useRef(null);
  const stick = useRef(true);
  const { lines, ended, waiting } = watchedBuild.value;
  useEffect(() => {
    if (stick.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  function scrolled() {
    const at = box.current;
    stick.current = at.scrollHeight - at.scrollTop - at.clientHeight < NEAR;
  }
  const text = waiting ? "…" : lines.length ? lines.join("\n") : ended ? "(nothing printed)" : "(nothing printed yet)";
  return html`<pre ref=${box} tabIndex="0" role="log" aria-label="Build log of approval ${id}" data-testid="build-log-lines"
    data-ended=${ended} onScroll=${scrolled}>${text}</pre>`;
}

/** Folded until somebody wants it; opening one closes the one that was watched before. */
export function BuildLog({ id, words = "Build log" }) {
  const isOpen = watchedBuild.value.id === id;
  useEffect(() => () => watchedBuild.value.id === id && followBuild(null), [id]);
  function toggled(event) {
    const { open } = event.currentTarget;
    if (open === isOpen) return;
    followBuild(open ? id : null);
  }
  return html`
    <details class="log" open=${isOpen} onToggle=${toggled} data-testid="build-log">
      <summary>${words}<span class="vh"> of approval ${id}</span></summary>
      ${isOpen && html`<${Lines} id=${id} />`}
    </details>
  `;
}
