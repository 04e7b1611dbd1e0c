-- Which vehicles each gate inspects, and lots of which every vehicle is inspected. Code of the release before draws none.
CREATE TABLE gate_seed (
    programme_id text PRIMARY KEY REFERENCES programme (id),
    seed bytea NOT NULL,               -- secret: whoever knows it knows which vehicles will be looked at
    made_at timestamptz NOT NULL
);
CREATE TABLE gate_draw (
    programme_id text NOT NULL REFERENCES programme (id),
    order_id text NOT NULL REFERENCES plant_order (id),
    station text NOT NULL,
    gate text NOT NULL,
    inspect boolean NOT NULL,
    permille integer NOT NULL CHECK (permille BETWEEN 0 AND 1000),  -- with which it was chosen
    reason text NOT NULL,
    drawn_at timestamptz NOT NULL,
    told_at timestamptz,               -- to the line, through the broker
    PRIMARY KEY (programme_id, order_id, station, gate)
);
CREATE INDEX gate_draw_newest_idx ON gate_draw (programme_id, drawn_at DESC, order_id DESC);
CREATE INDEX gate_draw_untold_idx ON gate_draw (drawn_at) WHERE told_at IS NULL;
CREATE TABLE contained_lot (
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    part text NOT NULL,
    lot text NOT NULL,
    reason text NOT NULL,
    contained_at timestamptz NOT NULL,
    contained_by text NOT NULL,
    released_at timestamptz,
    released_by text NOT NULL DEFAULT '',
    release_reason text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX contained_lot_open_idx ON contained_lot (programme_id, part, lot) WHERE released_at IS NULL;
CREATE INDEX contained_lot_newest_idx ON contained_lot (programme_id, contained_at DESC, id DESC);
