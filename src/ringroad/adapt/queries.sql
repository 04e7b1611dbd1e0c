-- name: finding^
SELECT id, lap_id, programme_id, ecu, software_version, fault_code, state, evidence, generation, opened_at
  FROM finding WHERE id = :finding_id;

-- name: campaign^
SELECT id, release_id, lap_id, state FROM campaign WHERE id = :campaign_id;

-- name: new_versions
SELECT DISTINCT p.version
  FROM campaign c
  JOIN release r ON r.id = c.release_id
 CROSS JOIN LATERAL jsonb_each(r.document -> 'variants') AS variant (name, packages)
  JOIN software_package p ON p.id = variant.packages ->> :ecu AND p.ecu = :ecu
 WHERE c.id = :campaign_id
 ORDER BY p.version;

-- name: put_outcome!
INSERT INTO outcome (id, campaign_id, finding_id, lap_id, verdict, measure, measured_at)
VALUES (:id, :campaign_id, :finding_id, :lap_id, :verdict, :measure, :now)
ON CONFLICT (campaign_id, finding_id) DO UPDATE
   SET verdict = EXCLUDED.verdict, measure = EXCLUDED.measure, measured_at = EXCLUDED.measured_at
 WHERE outcome.verdict = 'unknown'
    OR EXISTS (SELECT FROM assignment b  -- whose vehicles were told to return since
                WHERE b.campaign_id = outcome.campaign_id AND b.kind = 'rollback'
                  AND outcome.measured_at < b.released_at);

-- name: close_finding!
UPDATE finding SET state = 'closed', state_reason = :reason, closed_at = :now, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state IN ('open', 'accepted');

-- name: finish_changes
UPDATE change SET state = 'done', state_reason = :reason, generation = generation + 1
 WHERE finding_id = :finding_id AND state = 'approved' RETURNING id;

-- name: outcome_of^
SELECT o.id, o.verdict,
       EXISTS (SELECT FROM assignment b WHERE b.campaign_id = o.campaign_id AND b.kind = 'rollback'
                  AND o.measured_at < b.released_at) AS returned_since
  FROM outcome o WHERE o.campaign_id = :campaign_id AND o.finding_id = :finding_id;

-- name: outcomes
SELECT * FROM outcome
 WHERE (:finding_id::text IS NULL OR finding_id = :finding_id)
   AND (:campaign_id::text IS NULL OR campaign_id = :campaign_id)
   AND (:lap_id::text IS NULL OR lap_id = :lap_id)
   AND (:before_id::text IS NULL OR id < :before_id)
 ORDER BY id DESC LIMIT :rows_max;

-- name: due_outcomes
SELECT c.id AS campaign_id, f.id AS finding_id,
       CASE WHEN c.state <> 'finished' THEN 'recovery'
            WHEN f.evidence ->> 'rule' = 'halted-campaign' THEN 'updates' ELSE 'faults' END AS measure
  FROM campaign c
  JOIN finding f ON f.lap_id = c.lap_id OR c.lap_id IS NULL AND f.evidence ->> 'campaign_id' = c.id
  LEFT JOIN outcome o ON o.campaign_id = c.id AND o.finding_id = f.id
 WHERE (o.id IS NULL OR o.verdict = 'unknown'
        OR EXISTS (SELECT FROM assignment b
                    WHERE b.campaign_id = c.id AND b.kind = 'rollback' AND o.measured_at < b.released_at))
   AND NOT EXISTS (SELECT FROM campaign_plan p WHERE p.id = c.plan_id  -- no vehicle was to run it
                       AND p.document -> 'request' ->> 'urgency' = 'download_only')
   AND (c.state = 'finished' AND f.state IN ('open', 'accepted')
        OR c.state IN ('halted', 'aborted')
           AND EXISTS (SELECT FROM assignment a WHERE a.campaign_id = c.id AND a.offered_at IS NOT NULL))
 ORDER BY o.measured_at NULLS FIRST, c.id, f.id LIMIT :rows_max;  -- those that stay unknown keep nobody waiting

-- name: recovery_groups
-- A return that was refused before it was offered, because the vehicle needs none, is as none.
SELECT a.state, a.began_at IS NOT NULL AS began, v.blocked_reason IS NOT NULL AS blocked,
       v.gateway = 'native' AS native, back.state AS return_state,
       CASE WHEN told.received_at IS NULL THEN 'none' WHEN targets.shown = targets.named THEN 'release'
            ELSE 'other' END AS shown,
       CASE WHEN targets.moved_on THEN coalesce(since.version, '') END AS moved_on_to,
       count(*) AS vehicles
  FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id
  JOIN release r ON r.id = c.release_id
  JOIN vehicle v ON v.vin = a.vin
  LEFT JOIN release since ON since.id = v.release_id AND since.id <> c.release_id
  LEFT JOIN assignment back ON back.campaign_id = a.campaign_id AND back.vin = a.vin AND back.kind = 'rollback'
   AND NOT (back.state = 'failed' AND back.offered_at IS NULL
            AND (back.state_detail = 'nothing_to_undo' OR starts_with(back.state_detail, 'not_on_release')))
  LEFT JOIN LATERAL (
      SELECT max(m.received_at) AS received_at FROM vehicle_manifest m
       WHERE m.vin = a.vin AND a.finished_at <= m.received_at) told ON true
  LEFT JOIN LATERAL (
      SELECT count(*) AS named,
             count(*) FILTER (WHERE i.image_sha256 = p.image_sha256) AS shown,
             bool_or(i.image_sha256 <> p.image_sha256)  -- as `moved_on` of ship/returns.py
             AND bool_and(coalesce(i.image_sha256 <> p.image_sha256 OR i.image_sha256 = q.image_sha256, false)) AS moved_on
        FROM jsonb_each_text(r.document -> 'variants' -> v.variant) AS chosen (ecu, package_id)
        LEFT JOIN software_package p ON p.id = chosen.package_id
        LEFT JOIN software_package q ON q.id = since.document -> 'variants' -> v.variant ->> chosen.ecu
        LEFT JOIN ecu e ON e.vin = a.vin AND e.name = chosen.ecu AND e.removed_at IS NULL
        LEFT JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial) targets ON true
 WHERE a.campaign_id = :campaign_id AND a.kind = 'update' AND a.offered_at IS NOT NULL
   AND a.vin > :after_vin AND (:last_vin::text IS NULL OR a.vin <= :last_vin)
 GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- name: recovery_last_vin$
SELECT vin FROM assignment WHERE campaign_id = :campaign_id AND kind = 'update' AND vin > :after_vin
 ORDER BY vin OFFSET :vehicles::bigint - 1 LIMIT 1;

-- name: update_counts^
SELECT count(*) FILTER (WHERE state IN ('failed', 'rolled_back')
                           OR state = 'expired' AND began_at IS NOT NULL) AS harmed,
       count(*) FILTER (WHERE state IN ('failed', 'rolled_back', 'installed')
                           OR state = 'expired' AND began_at IS NOT NULL) AS reported
  FROM assignment WHERE campaign_id = :campaign_id AND kind = 'update';

-- name: lap^
SELECT id, title, opened_at FROM lap WHERE id = :lap_id;

-- name: laps
SELECT id, title, opened_at FROM lap
 WHERE (:before_id::text IS NULL OR id < :before_id) ORDER BY id DESC LIMIT :rows_max;
