-- Demand: what was wanted, signals of what will be, and forecasts. Code of the release before knows of none.
CREATE TABLE demand_book (
    programme_id text PRIMARY KEY REFERENCES programme (id),
    plants text[] NOT NULL,            -- what may be named; options and models are the programme's
    regions text[] NOT NULL,
    horizon integer NOT NULL CHECK (horizon BETWEEN 1 AND 24),  -- months
    holding_milli integer NOT NULL CHECK (holding_milli > 0),   -- cost of a unit in stock, in thousandths
    shortage_milli integer NOT NULL CHECK (shortage_milli > 0), -- cost of a unit that is missing
    count_orders boolean NOT NULL,     -- the line's orders are all of this demand's
    generation integer NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL
);
CREATE TABLE demand_month (
    programme_id text NOT NULL REFERENCES programme (id),
    option text NOT NULL,              -- '' for the vehicle itself
    plant text NOT NULL,
    region text NOT NULL,
    model text NOT NULL,
    month date NOT NULL,
    units integer NOT NULL CHECK (units >= 0),
    source text NOT NULL,              -- the file it came from
    told_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, option, plant, region, model, month)
);
CREATE TABLE demand_signal (
    programme_id text NOT NULL REFERENCES programme (id),
    id text NOT NULL,                  -- the sender's own
    kind text NOT NULL,
    option text NOT NULL,
    plant text NOT NULL,               -- '*' in these three: all of them
    region text NOT NULL,
    model text NOT NULL,
    month date NOT NULL,
    value double precision NOT NULL CHECK (value >= 0),
    elapsed_permille integer NOT NULL, -- of its month, when it was told
    source text NOT NULL,
    fact_id text NOT NULL,             -- that it was told by whom
    told_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, id)
);
CREATE TABLE demand_run (
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    state text NOT NULL CHECK (state IN ('asked', 'running', 'done', 'failed')),
    options integer NOT NULL DEFAULT 0,
    options_done integer NOT NULL DEFAULT 0,
    engine text NOT NULL DEFAULT '',
    horizon integer NOT NULL DEFAULT 0,
    first_month date,                  -- the first that is forecast
    grades jsonb NOT NULL DEFAULT '{}',  -- by option and level
    signals jsonb NOT NULL DEFAULT '{}', -- that it knew, by kind and source
    shifts jsonb NOT NULL DEFAULT '[]',
    error text NOT NULL DEFAULT '',
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz
);
CREATE INDEX demand_run_programme_idx ON demand_run (programme_id, asked_at DESC, id DESC);
CREATE UNIQUE INDEX demand_run_open_idx ON demand_run (programme_id) WHERE state IN ('asked', 'running');
CREATE TABLE demand_forecast (
    run_id text NOT NULL REFERENCES demand_run (id) ON DELETE CASCADE,
    option text NOT NULL,
    plant text NOT NULL,
    region text NOT NULL,
    model text NOT NULL,
    is_sum boolean NOT NULL,
    told jsonb NOT NULL,               -- what was chosen and why, grades, skill
    months jsonb NOT NULL,             -- mean and quantiles of each month
    samples bytea NOT NULL,            -- float32, months by draws
    PRIMARY KEY (run_id, option, plant, region, model)
);
