-- Births: what went into a vehicle, its birth record, and field faults traced back. Code of the release before knows of none.
ALTER TABLE line_baseline ADD COLUMN rxswins jsonb NOT NULL DEFAULT '{}';  -- type-approved system to its RXSWIN
CREATE TABLE built_part (
    programme_id text NOT NULL REFERENCES programme (id),
    event_id text NOT NULL,            -- the sender's own, so that a repeated one is known
    order_id text NOT NULL REFERENCES plant_order (id),
    station text NOT NULL,
    part text NOT NULL,
    lot text NOT NULL,
    serial text NOT NULL DEFAULT '',
    supplier text NOT NULL DEFAULT '',
    fitted_at timestamptz NOT NULL,    -- by the station's clock
    told_by text NOT NULL,
    told_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, event_id)
);
CREATE INDEX built_part_order_idx ON built_part (order_id);
CREATE INDEX built_part_lot_idx ON built_part (programme_id, lot);
CREATE UNIQUE INDEX built_part_serial_idx ON built_part (programme_id, part, serial) WHERE serial <> '';
CREATE TABLE birth_record (
    vin text PRIMARY KEY REFERENCES vehicle (vin),
    sha256 text NOT NULL,              -- of the signed part, in canonical form
    record bytea NOT NULL,             -- as the vehicle carries it
    key_id text NOT NULL DEFAULT '',   -- who signed; '' while no server had the keys
    made_at timestamptz NOT NULL
);
CREATE TABLE birth_trait (
    programme_id text NOT NULL REFERENCES programme (id),
    kind text NOT NULL,                -- lot, supplier, station, software, check, plant, week
    thing text NOT NULL,               -- the part, the ECU, the check; '' for what is the vehicle's
    value text NOT NULL,
    vin text NOT NULL REFERENCES vehicle (vin),
    station text NOT NULL DEFAULT '',  -- where it came to the vehicle; '' for nowhere
    PRIMARY KEY (programme_id, kind, thing, value, vin)
);
CREATE INDEX birth_trait_vin_idx ON birth_trait (vin);
CREATE TABLE claim (
    id text PRIMARY KEY,               -- the sender's own, so that a repeated one is known
    programme_id text NOT NULL REFERENCES programme (id),
    vin text NOT NULL REFERENCES vehicle (vin),
    part text NOT NULL DEFAULT '',     -- what failed: a part or an ECU, by name
    fault_code text NOT NULL DEFAULT '',
    body text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL,
    told_by text NOT NULL,
    told_at timestamptz NOT NULL
);
CREATE INDEX claim_vin_idx ON claim (vin);
CREATE INDEX claim_programme_idx ON claim (programme_id, told_at DESC, id DESC);
CREATE TABLE field_trace (
    source text NOT NULL CHECK (source IN ('claim', 'finding')),
    source_id text NOT NULL,
    vin text NOT NULL REFERENCES vehicle (vin),
    programme_id text NOT NULL REFERENCES programme (id),
    part text NOT NULL DEFAULT '',     -- or ECU
    lot text NOT NULL DEFAULT '',
    supplier text NOT NULL DEFAULT '',
    software_version text NOT NULL DEFAULT '',  -- at birth
    station text NOT NULL DEFAULT '',  -- where it was fitted or flashed
    gate_station text NOT NULL DEFAULT '',      -- where it should have been caught; '' for no gate
    gate text NOT NULL DEFAULT '',
    reason text NOT NULL,              -- how the gate was found, or why none
    occurred_at timestamptz NOT NULL,
    traced_at timestamptz NOT NULL,
    PRIMARY KEY (source, source_id, vin)
);
CREATE INDEX field_trace_gate_idx ON field_trace (programme_id, gate_station, gate, traced_at DESC);
