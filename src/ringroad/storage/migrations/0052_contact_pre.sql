-- When a gateway was last asked something by a vehicle, to within a few hours: a poll writes no row. Not in `vehicle`, where
-- each change is read again by every gateway.
CREATE TABLE vehicle_contact (
    vin text PRIMARY KEY,
    heard_at timestamptz NOT NULL
);

-- Pages and the gate read a campaign's newest decisions; all of them, else, once campaigns decide for months.
CREATE INDEX gate_decision_campaign_idx ON gate_decision (campaign_id, id);

-- Whether a vehicle enrolled or was heard of since its credentials were ended.
CREATE FUNCTION heard_since(vehicle_vin text, since timestamptz) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM fact f
                    WHERE f.subject = vehicle_vin AND f.kind = 'vehicle.enrolled' AND f.event_at >= since)
        OR EXISTS (SELECT FROM device_report d WHERE d.vin = vehicle_vin AND d.received_at > since)
        OR EXISTS (SELECT FROM vehicle_manifest m WHERE m.vin = vehicle_vin AND m.received_at > since);
END;
-- Not asked of vehicles that were never shut out: a plan reads a million of these, and this is taken into its query.
CREATE FUNCTION is_shut_out(vehicle_vin text, certificates bytea[], certificates_after timestamptz)
    RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN certificates_after IS NOT NULL AND certificates = '{}'
            THEN NOT heard_since(vehicle_vin, certificates_after) ELSE false END;
