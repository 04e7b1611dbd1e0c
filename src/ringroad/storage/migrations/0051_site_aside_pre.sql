-- At a hub: events of a site's line and words about its stops that this version cannot read, or that break their reader.
-- They hold up nothing, and a person has them tried again, as after an upgrade.
CREATE TABLE site_aside (
    site_id text NOT NULL REFERENCES site (id),
    sha256 text NOT NULL,                  -- of what was told
    programme_id text NOT NULL,
    what text NOT NULL CHECK (what IN ('event', 'stop')),
    number bigint NOT NULL,                -- position of the event, seq of the word, at the site
    told bytea NOT NULL,                   -- as it came, whole
    code text NOT NULL,
    reason text NOT NULL,
    told_at timestamptz NOT NULL,
    settled_at timestamptz,                -- when it was taken after all; none: it waits for a person
    settled_by text,
    PRIMARY KEY (site_id, sha256)
);
