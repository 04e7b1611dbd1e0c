-- What stations of a line say, as it came; what of it cannot be; and states of the line to resume from.
CREATE TABLE mes_event (
    programme_id text NOT NULL REFERENCES programme (id),
    position bigint NOT NULL CHECK (position > 0),  -- in the fold
    event_id text NOT NULL,                          -- the sender's own
    order_id text NOT NULL,                          -- '' for what is about a station alone
    station text NOT NULL,
    kind text NOT NULL,
    body jsonb NOT NULL,
    at timestamptz NOT NULL,
    seq bigint NOT NULL,                             -- in the stream, with received_at: the same at every delivery
    received_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, position),
    UNIQUE (programme_id, event_id)
);
CREATE INDEX mes_event_order_idx ON mes_event (order_id, position) WHERE order_id <> '';
CREATE INDEX mes_event_received_idx ON mes_event (programme_id, received_at);
CREATE TABLE mes_refused (
    seq bigint NOT NULL,
    received_at timestamptz NOT NULL,
    programme_id text NOT NULL,                      -- of the subject; there may be none of that name
    event_id text NOT NULL,
    order_id text NOT NULL,
    station text NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    raw bytea NOT NULL,
    PRIMARY KEY (seq, received_at)
);
CREATE INDEX mes_refused_programme_idx ON mes_refused (programme_id, received_at DESC);
CREATE TABLE line_state (
    programme_id text NOT NULL REFERENCES programme (id),
    position bigint NOT NULL,
    state jsonb NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, position)
);
