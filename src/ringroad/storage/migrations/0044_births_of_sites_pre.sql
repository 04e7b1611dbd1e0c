-- Vehicles that sites bear. At a hub: the places of plants in VINs, the keys it vouches for, and births it cannot take.
ALTER TABLE site ADD COLUMN births_waiting bigint NOT NULL DEFAULT 0; -- that it had and this hub had not, when it was last heard
CREATE TABLE site_vin (
    site_id text PRIMARY KEY REFERENCES site (id),
    plant text NOT NULL UNIQUE             -- what stands for it in its VINs, and for no other
);
CREATE TABLE site_key (
    site_id text NOT NULL REFERENCES site (id),
    key_id text NOT NULL,
    certificate bytea NOT NULL,            -- the newest of this key
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (site_id, key_id)
);
CREATE TABLE site_birth_refused (
    site_id text NOT NULL REFERENCES site (id),
    vin text NOT NULL,
    sha256 text NOT NULL,                  -- of the record
    told bytea NOT NULL,                   -- the birth as it came, whole
    code text NOT NULL,
    reason text NOT NULL,
    told_at timestamptz NOT NULL,
    settled_at timestamptz,                -- a person had it taken, or let it be
    settled_by text,
    PRIMARY KEY (site_id, vin, sha256)
);
-- At a site: what it verified of its hub's metadata, what its line is to flash, and births in their order.
CREATE TABLE site_trust (
    name text PRIMARY KEY,
    bytes bytea NOT NULL,
    at timestamptz NOT NULL
);
CREATE TABLE site_birth (
    number bigint PRIMARY KEY,             -- without gaps
    vin text NOT NULL UNIQUE REFERENCES vehicle (vin),
    told bytea NOT NULL,                   -- as it goes to the hub
    at timestamptz NOT NULL
);
