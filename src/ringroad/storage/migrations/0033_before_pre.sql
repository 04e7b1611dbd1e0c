-- What an ECU ran before what it runs now, so that it can be told to go back to exactly that.
CREATE TABLE ecu_replaced (
    vin text NOT NULL,
    serial text NOT NULL,
    image_sha256 text NOT NULL,
    filename text NOT NULL,
    version text NOT NULL,
    by_sha256 text NOT NULL,           -- what took its place
    replaced_at timestamptz NOT NULL,  -- when that was reported
    PRIMARY KEY (vin, serial, replaced_at, by_sha256),
    FOREIGN KEY (vin, serial) REFERENCES ecu_installed (vin, serial) ON DELETE CASCADE
);
CREATE FUNCTION keep_replaced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ecu_replaced (vin, serial, image_sha256, filename, version, by_sha256, replaced_at)
    VALUES (OLD.vin, OLD.serial, OLD.image_sha256, OLD.filename, OLD.version, NEW.image_sha256, NEW.reported_at)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER ecu_installed_replaced AFTER UPDATE ON ecu_installed
    FOR EACH ROW WHEN (OLD.image_sha256 IS DISTINCT FROM NEW.image_sha256) EXECUTE FUNCTION keep_replaced();

-- When it was first known what an ECU runs; of rows that are here already: not later than now.
ALTER TABLE ecu_installed ADD COLUMN first_at timestamptz DEFAULT now();
ALTER TABLE ecu_installed ALTER COLUMN first_at DROP DEFAULT;  -- code of the release before does not say it

-- What a return puts on its vehicle, by ECU; null: what its release holds.
ALTER TABLE assignment ADD COLUMN packages jsonb;

-- Vehicles that have a campaign's release, perhaps since their deadline passed, and are not on their way back or there.
-- One whose return came to nothing is among them.
CREATE VIEW kept_vehicle AS
SELECT a.campaign_id, a.vin, a.wave, a.previous_release_id, c.release_id
  FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id
  JOIN vehicle v ON v.vin = a.vin
 WHERE a.kind = 'update'
   AND (a.state = 'installed' OR a.finished_at IS NOT NULL AND a.offered_at IS NOT NULL AND v.release_id = c.release_id)
   AND NOT EXISTS (SELECT FROM assignment b
                    WHERE b.campaign_id = a.campaign_id AND b.vin = a.vin AND b.kind = 'rollback'
                      AND (b.state NOT IN ('failed', 'rolled_back', 'cancelled', 'expired')
                           OR v.release_id IS DISTINCT FROM c.release_id));
