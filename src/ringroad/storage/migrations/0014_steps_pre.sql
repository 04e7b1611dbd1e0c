-- A vehicle that needs releases in between gets each of them as an action of its own, of kind "step", before the
-- update. Code of the release before makes none, and offers none that it finds: it asks for updates.
ALTER TABLE assignment ADD COLUMN step integer NOT NULL DEFAULT 0;  -- place in the vehicle's way, from 1; 0: no way
ALTER TABLE assignment DROP CONSTRAINT assignment_kind_check;
CREATE INDEX assignment_step_idx ON assignment (campaign_id, vin) WHERE step > 0;
