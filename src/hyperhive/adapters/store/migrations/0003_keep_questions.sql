-- What agents ask the operator and each other, and what they want to be reminded of.
CREATE TABLE questions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    asker TEXT NOT NULL,
    asker_name TEXT NOT NULL,
    asked TEXT NOT NULL,
    asked_name TEXT NOT NULL,
    text TEXT NOT NULL,
    options TEXT NOT NULL,
    multi INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER,
    state TEXT NOT NULL,
    answer TEXT NOT NULL,
    answered_by TEXT NOT NULL,
    answered_via TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX questions_by_asker ON questions (asker, id);
CREATE INDEX questions_open ON questions (id) WHERE state = 'open';
CREATE INDEX questions_expiring ON questions (expires_at)
    WHERE state = 'open' AND expires_at IS NOT NULL;
CREATE INDEX questions_ended ON questions (changed_at) WHERE state <> 'open';

CREATE TABLE reminders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    text TEXT NOT NULL,
    set_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX reminders_of_agent ON reminders (agent, due_at) WHERE state = 'waiting';
CREATE INDEX reminders_waiting ON reminders (due_at) WHERE state = 'waiting';
CREATE INDEX reminders_ended ON reminders (changed_at) WHERE state <> 'waiting';

-- Which question a fact is about, as there is for messages and approvals.
ALTER TABLE facts ADD COLUMN question INTEGER;
