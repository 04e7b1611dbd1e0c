-- Sites: plants with engines of their own, which are leaves of this hub. Code of the release before knows of none.
CREATE TABLE site (
    id text PRIMARY KEY,                   -- the plant's
    token_sha256 bytea NOT NULL,           -- of what its NATS server shows
    generation integer NOT NULL DEFAULT 1,
    added_by text NOT NULL,
    added_at timestamptz NOT NULL,
    removed_at timestamptz,
    waiting bigint NOT NULL DEFAULT 0,     -- events that it had and this hub had not, when it was last heard
    heard_at timestamptz,                  -- its newest message was sent, by its clock, and taken here
    reconciled_at timestamptz              -- it was last heard with nothing waiting
);
CREATE TABLE site_conflict (
    site_id text NOT NULL REFERENCES site (id),
    kind text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL,                  -- what was found, and by which rule it was settled
    at timestamptz NOT NULL,
    PRIMARY KEY (site_id, kind, subject)
);
-- How far the other side has what is told: at a site by programme, at a hub by site and programme.
CREATE TABLE site_place (
    name text PRIMARY KEY,
    number bigint NOT NULL,
    at timestamptz NOT NULL
);
