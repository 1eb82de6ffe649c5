-- Times are integers: microseconds since 1970-01-01 UTC.
-- A fact's number has no AUTOINCREMENT because facts are never deleted; a message's
-- id has, because swept messages must not lend their ids to new ones.

CREATE TABLE facts (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    agent TEXT,
    message INTEGER,
    approval INTEGER,
    turn TEXT,
    text TEXT NOT NULL,
    topics TEXT NOT NULL
) STRICT;

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    slot INTEGER NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    wanted TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    phase TEXT NOT NULL,
    phase_since INTEGER NOT NULL,
    phase_note TEXT NOT NULL,
    running_epoch INTEGER NOT NULL,
    sandbox_boot_id TEXT,
    sandbox_pid INTEGER,
    sandbox_start_time INTEGER,
    crashes INTEGER NOT NULL,
    retry_at INTEGER,
    turn_state TEXT NOT NULL,
    turn_since INTEGER NOT NULL,
    turn_note TEXT NOT NULL,
    status TEXT NOT NULL,
    model TEXT NOT NULL,
    session_id TEXT NOT NULL,
    session_started INTEGER NOT NULL,
    start_reason TEXT NOT NULL
) STRICT;

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sender TEXT NOT NULL,
    sender_name TEXT NOT NULL,
    recipient TEXT NOT NULL,
    recipient_name TEXT NOT NULL,
    type TEXT NOT NULL,
    body TEXT NOT NULL,
    in_reply_to INTEGER,
    key TEXT,
    sent_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    lease TEXT,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX messages_by_key ON messages (sender, key) WHERE key IS NOT NULL;
CREATE INDEX messages_by_recipient ON messages (recipient, id);
CREATE INDEX messages_open ON messages (recipient, state, id)
    WHERE state = 'queued' OR state = 'leased';
CREATE INDEX messages_leased ON messages (lease, id) WHERE state = 'leased';
CREATE INDEX messages_handled ON messages (changed_at) WHERE state = 'handled';
CREATE INDEX messages_dead ON messages (id) WHERE state = 'dead';

CREATE TABLE approvals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    agent_id TEXT,
    description TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_by_name TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    digest TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_via TEXT NOT NULL,
    decided_at INTEGER,
    note TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX approvals_by_state ON approvals (state, id);

CREATE TABLE turns (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT NOT NULL,
    note TEXT NOT NULL,
    woke_by TEXT NOT NULL,
    model TEXT NOT NULL,
    tool_calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    context_tokens INTEGER NOT NULL
) STRICT;

-- Turns have random ids, so the order of one agent's turns is that of their rows.
CREATE INDEX turns_by_agent ON turns (agent);

CREATE TABLE named_values (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
