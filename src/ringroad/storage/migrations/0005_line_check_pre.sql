-- What the twin said of a schedule that costs less than the running one: released, or kept out and why.
-- Code of the release before releases such schedules without asking.
CREATE TABLE line_check (              -- append-only
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    schedule_id text NOT NULL REFERENCES line_schedule (id),  -- the running one
    generation integer NOT NULL,       -- of the running one
    released boolean NOT NULL,
    reason text NOT NULL,
    better_permille integer NOT NULL,  -- of 1,000 runs, those that are better with the new schedule
    replications integer NOT NULL,     -- runs of each
    vehicles integer NOT NULL,
    moved integer NOT NULL,            -- vehicles whose order among the others is another
    checked_us bigint NOT NULL,        -- running schedule made to this decision
    worked_us bigint NOT NULL,         -- of that, searching and checking
    document jsonb NOT NULL,           -- build/twin/compare.py
    checked_at timestamptz NOT NULL
);
CREATE INDEX line_check_programme_idx ON line_check (programme_id, checked_at DESC, id DESC);
