-- Breakdowns and quality stops of a line. Code of the release before knows of none, and plans without them.
CREATE TABLE line_stop (
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    station text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('breakdown', 'quality')),
    reason text NOT NULL,
    options text[] NOT NULL,           -- options and variants that cannot pass; none: the station stands for all
    event_id text NOT NULL,            -- the sender's own; '' for a person's
    began_at timestamptz NOT NULL,
    expected_s integer NOT NULL CHECK (expected_s > 0),
    stopped_by text NOT NULL,
    ended_at timestamptz,              -- NULL while it stands
    ended_by text
);
CREATE UNIQUE INDEX line_stop_event_idx ON line_stop (programme_id, event_id) WHERE event_id <> '';
CREATE INDEX line_stop_programme_idx ON line_stop (programme_id, began_at DESC, id DESC);
CREATE INDEX line_stop_open_idx ON line_stop (programme_id) WHERE ended_at IS NULL;
