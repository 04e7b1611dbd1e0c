-- Results of checks at stations and gates, and whether each vehicle passed its stations at once. Code of the release
-- before keeps neither.
CREATE TABLE station_result (
    programme_id text NOT NULL REFERENCES programme (id),
    event_id text NOT NULL,            -- the sender's own
    plant_id text NOT NULL,            -- whose line it was: a plant document, or the programme where its file says the line
    station text NOT NULL,
    gate text NOT NULL,                -- of the plant document, that makes this check; '' if none does
    check_name text NOT NULL,
    vehicle text NOT NULL,             -- an order of ours, or the sender's own number of a vehicle built elsewhere
    order_id text REFERENCES plant_order (id),  -- the same, where it is ours
    variant text NOT NULL,
    software text NOT NULL,            -- version; '' where neither the sender nor a baseline says one
    lots jsonb NOT NULL,               -- part to lot, of what was fitted at that station
    passed boolean NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),  -- of this check on this vehicle; above 1 after rework
    at timestamptz NOT NULL,           -- by the station's clock
    told_at timestamptz NOT NULL,
    told_by text NOT NULL,
    PRIMARY KEY (programme_id, event_id),
    CONSTRAINT station_result_attempt UNIQUE (programme_id, vehicle, station, check_name, attempt)
);
CREATE INDEX station_result_newest_idx ON station_result (programme_id, told_at DESC, event_id DESC);
CREATE TABLE station_pass (
    programme_id text NOT NULL REFERENCES programme (id),
    station text NOT NULL,
    vehicle text NOT NULL,
    plant_id text NOT NULL,
    variant text NOT NULL,
    software text NOT NULL,
    lots jsonb NOT NULL,
    at_once boolean NOT NULL,          -- no check there failed at its first attempt
    number bigint NOT NULL,            -- of this variant at this station, from 0
    period integer NOT NULL,           -- follows from it: the vehicles that those after it are held against
    at timestamptz NOT NULL,           -- of its first result there
    PRIMARY KEY (programme_id, station, vehicle),
    CONSTRAINT station_pass_number UNIQUE (programme_id, station, variant, number)
);
CREATE INDEX station_pass_at_idx ON station_pass (programme_id, at);
