-- Webhooks: who is told of which facts, how far each is, and a short log of what was sent. Code of the release before
-- knows nothing of them.
CREATE TABLE webhook (
    id text PRIMARY KEY,
    url text NOT NULL,
    types text[] NOT NULL DEFAULT '{}',     -- as they were asked for; none: every type
    state text NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
    state_reason text NOT NULL DEFAULT '',
    salt bytea NOT NULL,                    -- the secret is derived from it and a key outside of the database
    key_id text NOT NULL,
    old_salt bytea,                         -- of the secret before, which signs as well until `old_until`
    old_until timestamptz,
    generation integer NOT NULL DEFAULT 1,
    cursor_seq bigint NOT NULL,             -- every fact up to here was delivered, or is of no type asked for
    failures integer NOT NULL DEFAULT 0,    -- attempts in a row
    failing_since timestamptz,
    next_attempt_at timestamptz,
    delivered_at timestamptz,               -- last success
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE webhook_replay (               -- facts that a person asked for again
    webhook_id text NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    seq bigint NOT NULL REFERENCES fact (seq),
    asked_at timestamptz NOT NULL,
    PRIMARY KEY (webhook_id, seq)
);
CREATE TABLE webhook_delivery (             -- attempts; the newest are kept
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id text NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    seq bigint NOT NULL,
    fact_id text NOT NULL,
    kind text NOT NULL,
    attempt integer NOT NULL,
    replayed boolean NOT NULL,
    outcome text NOT NULL,
    status integer,
    sent_at timestamptz NOT NULL,
    took_ms integer NOT NULL
);
CREATE INDEX webhook_delivery_idx ON webhook_delivery (webhook_id, id);
