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
 WHERE outcome.verdict = 'unknown';

-- name: close_finding!
UPDATE finding SET state = 'closed', state_reason = :reason, closed_at = :now, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state = 'accepted';

-- name: finish_changes
UPDATE change SET state = 'done', state_reason = :reason, generation = generation + 1
 WHERE finding_id = :finding_id AND state = 'approved' RETURNING id;

-- name: outcome_of^
SELECT * FROM outcome WHERE campaign_id = :campaign_id AND finding_id = :finding_id;

-- name: outcome^
SELECT * FROM outcome WHERE id = :outcome_id;

-- name: outcomes
SELECT * FROM outcome
 WHERE (:finding_id::text IS NULL OR finding_id = :finding_id)
   AND (:campaign_id::text IS NULL OR campaign_id = :campaign_id)
   AND (:lap_id::text IS NULL OR lap_id = :lap_id)
   AND (:before_id::text IS NULL OR id < :before_id)
 ORDER BY id DESC LIMIT :rows_max;

-- name: due_outcomes
SELECT c.id AS campaign_id, f.id AS finding_id
  FROM campaign c
  JOIN finding f ON f.lap_id = c.lap_id AND f.state = 'accepted'
  LEFT JOIN outcome o ON o.campaign_id = c.id AND o.finding_id = f.id
 WHERE c.state = 'finished' AND (o.id IS NULL OR o.verdict = 'unknown')
 ORDER BY o.measured_at NULLS FIRST, c.id, f.id LIMIT :rows_max;  -- those that stay unknown keep nobody waiting

-- name: lap^
SELECT id, title, opened_at FROM lap WHERE id = :lap_id;

-- name: laps
SELECT id, title, opened_at FROM lap
 WHERE (:before_id::text IS NULL OR id < :before_id) ORDER BY id DESC LIMIT :rows_max;
