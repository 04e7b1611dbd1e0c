-- Public keys of those who sign artifacts. Code of the release before knows of none, and verifies no signature.
CREATE TABLE artifact_key (
    id text PRIMARY KEY,
    programme_id text NOT NULL REFERENCES programme (id),
    supplier text NOT NULL,            -- as programme.toml calls them; '' for every supplier
    name text NOT NULL,
    kind text NOT NULL,                -- rsa-3072, ecdsa-p256
    sha256 text NOT NULL,              -- hex, of the DER
    pem text NOT NULL,
    added_by text NOT NULL,
    added_at timestamptz NOT NULL,
    revoked_by text,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX artifact_key_good ON artifact_key (programme_id, supplier, sha256) WHERE revoked_at IS NULL;
