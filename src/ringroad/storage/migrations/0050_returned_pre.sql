-- How many vehicles of a campaign installed it and went back, beside how many are in which state: rows of a kind of their
-- own, by the wave of the update. Both actions of a vehicle count only together, whichever of them moves.
CREATE FUNCTION tally_returns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN  -- by sums and by the index: what is linear in what moved, whatever plan is kept for it
        WITH came AS MATERIALIZED (
            SELECT campaign_id, vin, kind, wave, sum(n) AS n FROM (
            SELECT campaign_id, vin, kind, wave, 1 AS n FROM added WHERE state = 'installed' AND kind IN ('update', 'rollback')
            UNION ALL
            SELECT campaign_id, vin, kind, wave, -1 FROM gone WHERE state = 'installed' AND kind IN ('update', 'rollback')
            ) AS each GROUP BY campaign_id, vin, kind, wave HAVING sum(n) <> 0
        ), now AS MATERIALIZED (
            SELECT moved.campaign_id, moved.vin, a.kind, a.wave FROM (SELECT DISTINCT campaign_id, vin FROM came) AS moved
             CROSS JOIN LATERAL (
                   SELECT o.kind, o.wave FROM assignment o
                    WHERE o.campaign_id = moved.campaign_id AND o.vin = moved.vin AND o.kind IN ('update', 'rollback')
                      AND o.state = 'installed' OFFSET 0) AS a
        ), known AS (
            SELECT campaign_id, vin, kind, wave, sum(is_now) AS is_now, sum(was) AS was FROM (
            SELECT campaign_id, vin, kind, wave, 1 AS is_now, 1 AS was FROM now
            UNION ALL
            SELECT campaign_id, vin, kind, wave, 0, -n FROM came
            ) AS each GROUP BY campaign_id, vin, kind, wave
        ), pair AS (
            SELECT campaign_id, max(wave) FILTER (WHERE kind = 'update' AND is_now = 1) AS now_wave,
                   max(wave) FILTER (WHERE kind = 'update' AND was = 1) AS old_wave,
                   bool_or(kind = 'rollback' AND is_now = 1) AS now_back, bool_or(kind = 'rollback' AND was = 1) AS old_back
              FROM known GROUP BY campaign_id, vin
        )
        INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles)
        SELECT campaign_id, 'returned', x.wave, 'installed', false, '-infinity', sum(x.n)
          FROM pair CROSS JOIN LATERAL (VALUES (now_wave, now_back, 1), (old_wave, old_back, -1)) AS x (wave, back, n)
         WHERE x.wave IS NOT NULL AND x.back GROUP BY campaign_id, x.wave HAVING sum(x.n) <> 0;
    ELSE
        WITH came AS MATERIALIZED (
            SELECT campaign_id, vin, kind, wave, sum(n) AS n FROM (
            SELECT campaign_id, vin, kind, wave, -1 AS n FROM gone WHERE state = 'installed' AND kind IN ('update', 'rollback')
            ) AS each GROUP BY campaign_id, vin, kind, wave HAVING sum(n) <> 0
        ), now AS MATERIALIZED (
            SELECT moved.campaign_id, moved.vin, a.kind, a.wave FROM (SELECT DISTINCT campaign_id, vin FROM came) AS moved
             CROSS JOIN LATERAL (
                   SELECT o.kind, o.wave FROM assignment o
                    WHERE o.campaign_id = moved.campaign_id AND o.vin = moved.vin AND o.kind IN ('update', 'rollback')
                      AND o.state = 'installed' OFFSET 0) AS a
        ), known AS (
            SELECT campaign_id, vin, kind, wave, sum(is_now) AS is_now, sum(was) AS was FROM (
            SELECT campaign_id, vin, kind, wave, 1 AS is_now, 1 AS was FROM now
            UNION ALL
            SELECT campaign_id, vin, kind, wave, 0, -n FROM came
            ) AS each GROUP BY campaign_id, vin, kind, wave
        ), pair AS (
            SELECT campaign_id, max(wave) FILTER (WHERE kind = 'update' AND is_now = 1) AS now_wave,
                   max(wave) FILTER (WHERE kind = 'update' AND was = 1) AS old_wave,
                   bool_or(kind = 'rollback' AND is_now = 1) AS now_back, bool_or(kind = 'rollback' AND was = 1) AS old_back
              FROM known GROUP BY campaign_id, vin
        )
        INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles)
        SELECT campaign_id, 'returned', x.wave, 'installed', false, '-infinity', sum(x.n)
          FROM pair CROSS JOIN LATERAL (VALUES (now_wave, now_back, 1), (old_wave, old_back, -1)) AS x (wave, back, n)
         WHERE x.wave IS NOT NULL AND x.back GROUP BY campaign_id, x.wave HAVING sum(x.n) <> 0;
    END IF;
    RETURN NULL;
END $$;
-- No action is added as installed.
CREATE TRIGGER assignment_returned AFTER UPDATE ON assignment REFERENCING OLD TABLE AS gone NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_returns();
CREATE TRIGGER assignment_return_gone AFTER DELETE ON assignment REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tally_returns();

-- The triggers keep writers away until this transaction ends, so that nothing is counted twice or missed.
INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles, folded)
SELECT u.campaign_id, 'returned', u.wave, 'installed', false, '-infinity', count(*), true
  FROM assignment r JOIN assignment u ON u.campaign_id = r.campaign_id AND u.vin = r.vin AND u.kind = 'update' AND u.state = 'installed'
 WHERE r.kind = 'rollback' AND r.state = 'installed' GROUP BY u.campaign_id, u.wave;

-- What 0048 makes in its second half, under other names: until then a gate with a control group would read every vehicle
-- of its plan in each round. They keep away who plans, for as long as one look at the plans' vehicles takes; nobody else.
CREATE INDEX campaign_target_gone_idx ON campaign_target (plan_id) WHERE let_go_at IS NOT NULL;
CREATE INDEX campaign_target_held_idx ON campaign_target (plan_id, resolution) WHERE verdict = 'control' OR reason = 'joined';
