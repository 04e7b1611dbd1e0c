-- How many vehicles are of which variant and run which release, kept by the database as campaigns' counts are; and what a
-- list of vehicles is searched by.
CREATE TABLE fleet_tally (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme_id text NOT NULL,
    variant text NOT NULL,
    release_id text NOT NULL,          -- '': not reported
    blocked boolean NOT NULL,
    vehicles bigint NOT NULL,          -- may be less than nothing in a row that is not folded
    folded boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX fleet_tally_folded_idx ON fleet_tally (programme_id, variant, release_id, blocked) WHERE folded;
CREATE INDEX fleet_tally_new_idx ON fleet_tally (id) WHERE NOT folded;

CREATE FUNCTION tally_vehicles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO fleet_tally (programme_id, variant, release_id, blocked, vehicles)
        SELECT programme_id, variant, coalesce(release_id, ''), blocked_reason IS NOT NULL, count(*) FROM added GROUP BY 1, 2, 3, 4;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO fleet_tally (programme_id, variant, release_id, blocked, vehicles)
        SELECT programme_id, variant, release_id, blocked, sum(n)
          FROM (SELECT programme_id, variant, coalesce(release_id, '') AS release_id, blocked_reason IS NOT NULL AS blocked, 1 AS n FROM added
                UNION ALL
                SELECT programme_id, variant, coalesce(release_id, ''), blocked_reason IS NOT NULL, -1 FROM gone) AS moved
         GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0;
    ELSE
        INSERT INTO fleet_tally (programme_id, variant, release_id, blocked, vehicles)
        SELECT programme_id, variant, coalesce(release_id, ''), blocked_reason IS NOT NULL, -count(*) FROM gone GROUP BY 1, 2, 3, 4;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER vehicle_added AFTER INSERT ON vehicle REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_vehicles();
CREATE TRIGGER vehicle_moved AFTER UPDATE ON vehicle REFERENCING OLD TABLE AS gone NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_vehicles();
CREATE TRIGGER vehicle_gone AFTER DELETE ON vehicle REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tally_vehicles();

-- The triggers keep writers away until this transaction ends, so that nothing is counted twice or missed.
INSERT INTO fleet_tally (programme_id, variant, release_id, blocked, vehicles, folded)
SELECT programme_id, variant, coalesce(release_id, ''), blocked_reason IS NOT NULL, count(*), true FROM vehicle GROUP BY 1, 2, 3, 4;

CREATE INDEX assignment_vin_idx ON assignment (vin, action_id DESC);
CREATE INDEX assignment_failed_idx ON assignment (vin) WHERE state IN ('failed', 'rolled_back', 'expired');
CREATE INDEX vehicle_release_idx ON vehicle (release_id, vin);
CREATE INDEX vehicle_variant_idx ON vehicle (variant, vin);
CREATE INDEX vehicle_blocked_idx ON vehicle (vin) WHERE blocked_reason IS NOT NULL;
CREATE INDEX campaign_tally_now_idx ON campaign_tally (state) WHERE minute = '-infinity';

-- A success that is only claimed is no state of an assignment; people see it as one.
CREATE FUNCTION shown_state(state text, claimed boolean) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN claimed AND state IN ('pending', 'offered', 'active', 'cancelling') THEN 'claimed' ELSE state END;

-- One vehicle in one campaign, as lists show it.
CREATE VIEW assignment_shown AS
SELECT a.action_id, a.campaign_id, c.name AS campaign_name, a.vin, a.wave, a.kind,
       shown_state(a.state, a.claimed_at IS NOT NULL) AS state, a.state_detail, a.claimed_at, a.offered_at, a.deadline_at,
       a.last_report_at, a.finished_at, c.state AS campaign_state, a.attempt, a.not_before,
       a.released_at IS NOT NULL AS released,
       coalesce(via.version, r.version) AS release_version, v.attributes ->> 'time_zone' AS time_zone,
       (p.document ->> 'install_s_estimate')::int AS install_s,
       CASE WHEN a.kind <> 'rollback' AND a.state IN ('pending', 'offered')
            THEN nullif(p.document -> 'request' -> 'window', 'null'::jsonb) END AS window,
       CASE WHEN a.kind <> 'rollback' AND a.state IN ('pending', 'offered') THEN v.schedule END AS own_window,
       a.state IN ('pending', 'offered') AND a.offered_at IS NOT NULL AND c.state = 'running' AND a.consented_at IS NULL
       AND v.gateway = 'ddi' AND v.auto_confirm IS NULL
       AND coalesce((p.document -> 'request' ->> 'consent')::boolean, false) AS asked
  FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id JOIN release r ON r.id = c.release_id
  JOIN vehicle v ON v.vin = a.vin LEFT JOIN campaign_plan p ON p.id = c.plan_id
  LEFT JOIN release via ON a.kind = 'step' AND via.id = a.release_id;
