-- What checks found on days that are over, counted once by the worker: yields and gates are judged by months of results.
-- A day that is not here, or was taken out since something of it was told late, is counted from the results themselves.
CREATE TABLE quality_day (
    programme_id text NOT NULL REFERENCES programme (id),
    day date NOT NULL,                     -- of UTC
    vehicles bigint NOT NULL,              -- that were checked for the first time
    counted_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, day)
);
CREATE TABLE quality_day_pass (
    programme_id text NOT NULL,
    day date NOT NULL,
    station text NOT NULL,
    variant text NOT NULL,
    software text NOT NULL,
    lots jsonb NOT NULL,
    vehicles bigint NOT NULL,
    failed bigint NOT NULL,
    FOREIGN KEY (programme_id, day) REFERENCES quality_day (programme_id, day) ON DELETE CASCADE
);
CREATE INDEX quality_day_pass_idx ON quality_day_pass (programme_id, day);
CREATE TABLE quality_day_gate (
    programme_id text NOT NULL,
    day date NOT NULL,
    station text NOT NULL,
    gate text NOT NULL,
    inspected bigint NOT NULL,             -- vehicles that were looked at by chance, or all
    refused bigint NOT NULL,
    PRIMARY KEY (programme_id, day, station, gate),
    FOREIGN KEY (programme_id, day) REFERENCES quality_day (programme_id, day) ON DELETE CASCADE
);
CREATE INDEX station_result_gate_idx ON station_result (programme_id, at) WHERE gate <> '' AND attempt = 1;
