-- When a server or a worker heard the stream of telemetry last; one row. Who does not hear it asks whether anybody does.
CREATE TABLE telemetry_heard (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    heard_at timestamptz NOT NULL
);
