-- What was approved of a release that takes ECUs back to older software: build/downgrade.py. Code of the release before
-- refuses to create such a release, and signs none.
ALTER TABLE release ADD COLUMN downgrades jsonb;  -- NULL until a second person approved
