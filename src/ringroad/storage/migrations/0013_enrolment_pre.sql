-- How a device proves who it is, besides its token: client certificates, and a one-time token to get the first secret.
-- The tenant's own gateway tokens. Code of the release before knows device tokens only.
ALTER TABLE vehicle
    ADD COLUMN certificates bytea[] NOT NULL DEFAULT '{}',  -- sha256 of those that are good, newest first; at most two
    ADD COLUMN certificates_after timestamptz,              -- those of other authorities must be newer
    ADD COLUMN enrolment_sha256 bytea,                      -- of the one-time token that waits to be used
    ADD COLUMN enrolment_until timestamptz;

CREATE TABLE gateway_token (
    id text PRIMARY KEY,
    name text NOT NULL,
    token_sha256 bytea NOT NULL UNIQUE,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_by text,
    revoked_at timestamptz
);
CREATE TRIGGER gateway_token_notes BEFORE INSERT OR UPDATE ON gateway_token
    FOR EACH STATEMENT EXECUTE FUNCTION note_gateway_change();
CREATE TRIGGER gateway_token_wakes AFTER INSERT OR UPDATE ON gateway_token
    FOR EACH STATEMENT EXECUTE FUNCTION wake_gateways();
