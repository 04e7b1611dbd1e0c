-- What is watched on a line, in the order in which it was first watched, and alarms of it. Code of the release before
-- watches nothing.
CREATE INDEX station_pass_place_idx ON station_pass (programme_id, station, number);
CREATE TABLE quality_watch (
    programme_id text NOT NULL REFERENCES programme (id),
    station text NOT NULL,
    kind text NOT NULL,
    value text NOT NULL,               -- '' for the station itself, part=lot for a lot
    period integer NOT NULL,           -- of the station
    number bigint NOT NULL CHECK (number > 0),  -- its share of the bound on false alarms
    PRIMARY KEY (programme_id, station, kind, value, period),
    CONSTRAINT quality_watch_number UNIQUE (programme_id, number)
);
CREATE TABLE quality_alarm (
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    plant_id text NOT NULL,
    station text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('station', 'variant', 'software', 'lot')),
    value text NOT NULL,
    evidence jsonb NOT NULL,
    finding_id text REFERENCES finding (id),   -- that it opened; NULL where a quality stop is offered
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    closed_by text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX quality_alarm_open_idx ON quality_alarm (programme_id, station, kind, value) WHERE closed_at IS NULL;
CREATE INDEX quality_alarm_newest_idx ON quality_alarm (programme_id, opened_at DESC, id DESC);
