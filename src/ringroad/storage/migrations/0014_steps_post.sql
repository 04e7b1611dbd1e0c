-- Reads every action once. Several steps of one vehicle are told apart by their place.
ALTER TABLE assignment ADD CONSTRAINT assignment_kind_check CHECK (kind IN ('update', 'rollback', 'step'));
ALTER TABLE assignment ADD CONSTRAINT assignment_once UNIQUE (campaign_id, vin, kind, step);
ALTER TABLE assignment DROP CONSTRAINT assignment_campaign_id_vin_kind_key;
