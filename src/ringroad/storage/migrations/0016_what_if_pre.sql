-- What a planner asks the line's twin before deciding, and what it says. Code of the release before asks nothing.
CREATE TABLE line_what_if (
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    station text NOT NULL,             -- that would stand from now on
    down_s integer NOT NULL CHECK (down_s > 0),
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    generation integer,                -- of the schedule it was answered for
    answer jsonb,                      -- build/twin/what_if.py; NULL until the worker has answered
    answered_at timestamptz
);
CREATE INDEX line_what_if_programme_idx ON line_what_if (programme_id, asked_at DESC, id DESC);
CREATE INDEX line_what_if_open_idx ON line_what_if (asked_at) WHERE answered_at IS NULL;
