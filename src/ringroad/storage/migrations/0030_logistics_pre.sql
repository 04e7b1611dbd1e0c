-- Shipments on their way, the milestones told of them, and when they are expected. Code of the release before plans
-- without them.
CREATE TABLE shipment (
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    name text NOT NULL,                -- the sender's own
    leg text NOT NULL,                 -- of the plant, or its fleet of AGVs
    of_class text NOT NULL,            -- of that leg: the mode of transport
    part text NOT NULL,
    order_ids text[] NOT NULL,         -- orders that wait for it
    milestones text[] NOT NULL,        -- of the leg when it was announced; the last one is arrival
    planned timestamptz[] NOT NULL,    -- a time for each
    told timestamptz[] NOT NULL,       -- the same, NULL where nobody told
    lost text NOT NULL,                -- why it is not waited for any more; '' while it is
    generation integer NOT NULL CHECK (generation > 0),
    announced_at timestamptz NOT NULL,
    announced_by text NOT NULL,
    UNIQUE (programme_id, name)
);
CREATE INDEX shipment_newest_idx ON shipment (programme_id, announced_at DESC, id DESC);
CREATE TABLE shipment_milestone (
    programme_id text NOT NULL REFERENCES programme (id),
    event_id text NOT NULL,            -- the sender's own
    shipment_id text NOT NULL REFERENCES shipment (id),
    milestone text NOT NULL,
    at timestamptz NOT NULL,
    told_at timestamptz NOT NULL,
    told_by text NOT NULL,
    PRIMARY KEY (programme_id, event_id)
);
CREATE INDEX shipment_milestone_shipment_idx ON shipment_milestone (shipment_id, at);
CREATE TABLE milestone_refused (
    programme_id text NOT NULL REFERENCES programme (id),
    number bigint GENERATED ALWAYS AS IDENTITY,
    event_id text NOT NULL,
    shipment text NOT NULL,            -- as it was named
    milestone text NOT NULL,
    at timestamptz NOT NULL,
    reason text NOT NULL,
    told_by text NOT NULL,
    refused_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, number)
);
CREATE TABLE leg_outlook (
    programme_id text PRIMARY KEY REFERENCES programme (id),
    told bigint NOT NULL,              -- counts what was told since the first shipment
    seen bigint NOT NULL,              -- of that, what the document has seen
    document jsonb NOT NULL,           -- skill by stage, and when each shipment is expected
    made_at timestamptz
);
