-- Periods of a station in which a result changed a vehicle that had been checked: what alarms watch there is looked at
-- again. Code of the release before notes none: what it takes late raises no alarm, as before.
CREATE TABLE quality_late (
    programme_id text NOT NULL REFERENCES programme (id),
    station text NOT NULL,
    period integer NOT NULL,
    first_at timestamptz NOT NULL,     -- when the first of these results was told
    newest_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, station, period)
);
