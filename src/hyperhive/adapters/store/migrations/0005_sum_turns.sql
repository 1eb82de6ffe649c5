-- What all turns that ever ended add up to. Turns go after a while; these only grow, so a
-- scraper reads a few rows however long the hive has worked.
CREATE TABLE turn_totals (
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    turns INTEGER NOT NULL,
    microseconds INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    context_tokens INTEGER NOT NULL,
    PRIMARY KEY (agent, model, outcome)
) STRICT, WITHOUT ROWID;

INSERT INTO turn_totals
SELECT agent, model, outcome, count(*), sum(ended_at - started_at), sum(tool_calls),
    sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
    sum(cost_usd), max(context_tokens)
FROM turns WHERE ended_at IS NOT NULL GROUP BY agent, model, outcome;

-- Statistics ask for what began in the last days.
CREATE INDEX turns_by_start ON turns (started_at);
