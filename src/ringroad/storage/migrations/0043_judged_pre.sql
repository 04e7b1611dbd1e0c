-- What is known of a vehicle's configuration has a number, and what was chosen for it keeps the number it was chosen by.
-- Code of the release before writes neither: what it assigns is judged again before it is offered.
ALTER TABLE vehicle ADD COLUMN config_generation integer NOT NULL DEFAULT 1;
ALTER TABLE campaign_target ADD COLUMN config_generation integer;
ALTER TABLE assignment ADD COLUMN config_generation integer;
CREATE FUNCTION count_configuration() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.config_generation := OLD.config_generation + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER vehicle_configured BEFORE UPDATE ON vehicle FOR EACH ROW
    WHEN ((OLD.release_id, OLD.blocked_reason, OLD.programme_id, OLD.variant, OLD.gateway)
          IS DISTINCT FROM (NEW.release_id, NEW.blocked_reason, NEW.programme_id, NEW.variant, NEW.gateway))
    EXECUTE FUNCTION count_configuration();
-- When nobody was left that a halt had not seen. What halted before this is over: nothing is ordered by an upgrade.
ALTER TABLE campaign ADD COLUMN swept_at timestamptz;
UPDATE campaign SET swept_at = state_at + interval '1 hour' WHERE state = 'halted' AND state_at < now() - interval '1 hour';
