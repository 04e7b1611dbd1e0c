-- A campaign may hold a control group back (one more verdict), deal vehicles out by lot (`rank`), and keep what its
-- sequential gate counted and read. Code of the release before plans without any of it.
ALTER TABLE campaign_target DROP CONSTRAINT campaign_target_verdict_check;
ALTER TABLE campaign_target ADD COLUMN rank integer NOT NULL DEFAULT 0;

CREATE TABLE gate_tick (               -- append-only; what came late is one more row for the same tick
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign (id),
    metric text NOT NULL,
    tick bigint NOT NULL,              -- number of the tick since 1970, in the plan's length
    stratum text NOT NULL,
    counts jsonb NOT NULL,             -- whole numbers; their meaning is in ship/ticks.py
    recorded_at timestamptz NOT NULL
);
CREATE INDEX gate_tick_campaign_idx ON gate_tick (campaign_id, metric, tick);

CREATE TABLE gate_reading (            -- append-only; can be computed again from gate_tick
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign (id),
    through_us bigint NOT NULL,        -- what happened before is counted, microseconds since 1970
    last_tick_id bigint NOT NULL,      -- newest row of gate_tick that was read
    readings jsonb NOT NULL,
    policy jsonb NOT NULL,
    refused text NOT NULL DEFAULT '',  -- the metric that refused the update
    read_at timestamptz NOT NULL,
    UNIQUE (campaign_id, through_us)
);
