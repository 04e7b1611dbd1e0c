-- Until when the certificate of ours that a vehicle got last is good: the checker counts whose ends mid-campaign.
ALTER TABLE vehicle ADD COLUMN certificate_until timestamptz;  -- NULL: none, or got before this was kept
CREATE INDEX vehicle_certificate_idx ON vehicle (certificate_until) WHERE certificate_until IS NOT NULL;
