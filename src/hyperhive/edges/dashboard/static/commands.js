// Slash commands of the terminal's prompt: what there is, what a line means, and what it does.
//
// Rule: a line that begins with "/" is never sent to anybody. It is a command, or it is refused
// where it was written and stays there.

import { act } from "./api.js";

/** In place of a model's name: that of the agent's configuration, else the hive's. */
const DEFAULT_MODEL = "default";

/** Answers of verbs about turns say in one sentence when they take effect. */
async function told(verb, params) {
  return (await act(verb, params)).says;
}

export const COMMANDS = [
  { name: "help", about: "list these commands", run: () => help() },
  {
    name: "clear",
    about: "empty this view; nothing is deleted",
    run: (_, { state }) => {
      state.clear();
      return "";
    },
  },
  {
    name: "cancel",
    about: "end the turn that runs, and whatever it started; its mail counts as handled",
    run: async (_, { agent }) => {
      await act("interrupt", { name: agent.name });
      return "interrupt asked for: the turn ends, the session goes on with the next";
    },
  },
  { name: "compact", about: "make the session shorter, after the turn that runs", run: (_, { agent }) => told("compact", { name: agent.name }) },
  {
    name: "model",
    takes: "[MODEL]",
    most: 1,
    about: `show the model, or set it from the next turn on; "${DEFAULT_MODEL}" takes it back`,
    run: ([model], { agent }) => (model ? told("set-model", { name: agent.name, model }) : `the model is ${agent.model}`),
  },
  { name: "new-session", about: "let the next turn begin a new session", run: (_, { agent }) => told("new-session", { name: agent.name }) },
  {
    name: "pause",
    takes: "[REASON]",
    most: Infinity,
    about: "begin no more turns; mail stays queued",
    run: (words, { agent }) => told("pause", { name: agent.name, reason: words.join(" ") }),
  },
  { name: "resume", about: "begin turns again", run: (_, { agent }) => told("resume", { name: agent.name }) },
];

function help() {
  const lines = COMMANDS.map(({ name, takes, about }) => [`/${name}${takes ? ` ${takes}` : ""}`, about]);
  lines.push(["//…", "send text that begins with a slash"]);
  const width = Math.max(...lines.map(([head]) => head.length));
  return lines.map(([head, about]) => `${head.padEnd(width)}  ${about}`).join("\n");
}

/** Commands that the text may become: it is a slash and the beginning of a name, and no more. */
export function completions(text) {
  const match = /^\/([a-z-]*)$/.exec(text);
  return match ? COMMANDS.filter(({ name }) => name.startsWith(match[1])) : [];
}

/** The text to send; null when what is written is a command, or wants to be one. */
export function asMessage(text) {
  if (text.startsWith("//")) return text.slice(1);
  return text.trimStart().startsWith("/") ? null : text;
}

/** Do what a line says; returns what to show, throws what is wrong with it. */
export async function runCommand(text, context) {
  const [head, ...words] = text.trim().split(/\s+/);
  const found = COMMANDS.find(({ name }) => `/${name}` === head);
  if (!found) throw new Error(`no such command: ${head} (/help lists them; to send it as text, begin with //)`);
  const most = found.most ?? 0;
  if (words.length > most) {
    throw new Error(`/${found.name} takes ${most ? "one word at most" : "no words"}; to send this as text, begin with //`);
  }
  return found.run(words, context);
}
