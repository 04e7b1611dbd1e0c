-- Shops of plants: their plans, how far planning is, and what stands. Code of the release before knows of none.
CREATE TABLE shop_plan (
    id text PRIMARY KEY,
    plant_id text NOT NULL,
    shop text NOT NULL,                -- area and name, as in the plant's document
    generation integer NOT NULL CHECK (generation > 0),
    parent_id text REFERENCES shop_plan (id) ON DELETE SET NULL,
    cause text NOT NULL,
    plant_generation integer NOT NULL, -- of the document that it was made from
    origin_at timestamptz NOT NULL,    -- its times are seconds from here
    problem jsonb NOT NULL,            -- what was asked
    document jsonb NOT NULL,           -- the answer, what it costs, and what no answer can be below
    replan_latency_us bigint NOT NULL CHECK (replan_latency_us >= 0),
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    UNIQUE (plant_id, shop, generation)
);
CREATE TABLE shop_work (
    plant_id text NOT NULL,
    shop text NOT NULL,
    generation integer NOT NULL,       -- of the asking; who works for an older one has worked in vain
    stage text NOT NULL CHECK (stage IN ('asked', 'searching', 'proving', 'done', 'failed')),
    cause text NOT NULL,
    moves bigint NOT NULL,             -- budget of the search
    budget integer NOT NULL,           -- of the proof
    bound jsonb NOT NULL DEFAULT '{}', -- proved, by level
    note text NOT NULL DEFAULT '',     -- what came of it, or why nothing did
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (plant_id, shop)
);
CREATE INDEX shop_work_open_idx ON shop_work (asked_at) WHERE stage IN ('asked', 'searching', 'proving');
CREATE TABLE shop_stop (
    id text PRIMARY KEY,
    plant_id text NOT NULL,
    shop text NOT NULL,
    resource text NOT NULL,            -- a unit of it
    reason text NOT NULL,
    began_at timestamptz NOT NULL,
    expected_s integer NOT NULL CHECK (expected_s > 0),
    stopped_by text NOT NULL,
    ended_at timestamptz,
    ended_by text
);
CREATE INDEX shop_stop_shop_idx ON shop_stop (plant_id, shop, began_at DESC);
CREATE UNIQUE INDEX shop_stop_open_idx ON shop_stop (plant_id, shop, resource) WHERE ended_at IS NULL;
