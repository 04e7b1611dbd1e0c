-- Deltas between the images of packages, made in the background. Code of the release before makes none and offers none.
CREATE TABLE image_delta (
    to_sha256 text NOT NULL,           -- image of a package of a signed release
    from_sha256 text NOT NULL,         -- image that vehicles have
    ecu_class text NOT NULL CHECK (ecu_class IN ('linux', 'mcu')),
    release_id text NOT NULL REFERENCES release (id), -- for which it was made
    state text NOT NULL CHECK (state IN ('ready', 'left_out')),
    reason text NOT NULL DEFAULT '',   -- why it was left out
    algorithm text NOT NULL DEFAULT '', -- protocol/delta/apply.py
    sha256 text,                       -- of the delta, in the blob store
    sha512 text,
    delta_bytes bigint CHECK (delta_bytes > 0),
    image_bytes bigint NOT NULL,       -- of the whole image
    made_at timestamptz NOT NULL,
    PRIMARY KEY (to_sha256, from_sha256, ecu_class),
    CHECK ((state = 'ready') = (sha256 IS NOT NULL AND sha512 IS NOT NULL AND delta_bytes IS NOT NULL))
);
CREATE INDEX image_delta_sha256_idx ON image_delta (sha256) WHERE sha256 IS NOT NULL;
