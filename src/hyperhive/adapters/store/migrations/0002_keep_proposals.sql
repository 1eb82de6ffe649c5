-- What wants to become an agent's configuration, and what has.
CREATE TABLE proposals (
    id INTEGER PRIMARY KEY,
    agent_id TEXT NOT NULL,
    origin TEXT NOT NULL,
    commit_ref TEXT NOT NULL,
    sha TEXT NOT NULL,
    tree TEXT NOT NULL,
    base_sha TEXT NOT NULL,
    build TEXT NOT NULL,
    build_note TEXT NOT NULL,
    generation TEXT NOT NULL,
    configuration TEXT NOT NULL,
    effects TEXT NOT NULL,
    step TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    deadline INTEGER,
    expires_at INTEGER,
    tag TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX proposals_by_agent ON proposals (agent_id, id);
CREATE INDEX proposals_by_build ON proposals (build, id);
CREATE INDEX proposals_by_step ON proposals (step, id);

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    approval INTEGER NOT NULL,
    sha TEXT NOT NULL,
    tree TEXT NOT NULL,
    generation TEXT NOT NULL,
    built_from TEXT NOT NULL,
    configuration TEXT NOT NULL,
    deployed_at INTEGER NOT NULL,
    trial INTEGER
) STRICT;
