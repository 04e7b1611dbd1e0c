-- A vehicle may be tried again after a failure: which attempt this is, and when it may be offered. Code of the release
-- before has no retries, and offers those that wait at once.
ALTER TABLE assignment ADD COLUMN attempt integer NOT NULL DEFAULT 1;
ALTER TABLE assignment ADD COLUMN not_before timestamptz;
