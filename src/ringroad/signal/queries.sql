-- name: vehicles
SELECT vin, programme_id, variant FROM vehicle WHERE vin = ANY (:vins);

-- name: insert_quarantine*!
INSERT INTO quarantine (source, locator, reason, raw, received_at)
VALUES (:source, :locator, :reason, :raw, :received_at)
ON CONFLICT (source, locator) DO NOTHING;

-- name: quarantined
SELECT id, source, locator, reason, raw, received_at FROM quarantine
 WHERE (:source::text IS NULL OR source = :source) AND id < :before_id
 ORDER BY id DESC LIMIT :rows_max;

-- name: quarantine_counts
SELECT source, split_part(reason, ':', 1) AS reason, count(*) AS rows FROM quarantine GROUP BY 1, 2 ORDER BY 1, 2;

-- name: insert_complaint*!
INSERT INTO complaint (id, source, make, model, model_year, component, vin_prefix, occurred_on, received_on,
                       text, row_sha256, imported_at)
VALUES (:id, :source, :make, :model, :model_year, :component, :vin_prefix, :occurred_on, :received_on,
        :text, :row_sha256, :imported_at)
ON CONFLICT (id) DO NOTHING;

-- name: complaints
SELECT * FROM complaint
 WHERE (:component::text IS NULL OR component = :component) AND id > :after_id
 ORDER BY id LIMIT :rows_max;

-- name: complaint_components
SELECT component, count(*) AS complaints, min(received_on) AS first_on, max(received_on) AS last_on
  FROM complaint GROUP BY component ORDER BY complaints DESC, component LIMIT :rows_max;

-- name: programmes
SELECT id FROM programme ORDER BY id;

-- name: lock_detection$
SELECT pg_advisory_xact_lock(hashtext('ringroad.detect ' || :programme_id));

-- name: finding_keys
SELECT ecu, software_version, fault_code,
       bool_or(state IN ('open', 'accepted')) AS live, max(closed_at) AS closed_at
  FROM finding WHERE programme_id = :programme_id GROUP BY 1, 2, 3;

-- name: insert_finding!
INSERT INTO finding (id, lap_id, title, programme_id, ecu, software_version, fault_code, state, evidence, opened_at)
VALUES (:id, :lap_id, :title, :programme_id, :ecu, :software_version, :fault_code, 'open', :evidence, :opened_at);

-- name: findings
SELECT * FROM finding
 WHERE (:state::text IS NULL OR state = :state) AND (:programme_id::text IS NULL OR programme_id = :programme_id)
   AND (:before_id::text IS NULL OR id < :before_id)
 ORDER BY id DESC LIMIT :rows_max;

-- name: finding^
SELECT * FROM finding WHERE id = :finding_id;

-- Setbacks -----------------------------------------------------------------------------------------
-- name: setbacks
-- Not those of a finding that was closed since: what closed it answered them.
SELECT s.id AS fact_id, s.kind, s.event_at, s.body, o.measure, c.id AS campaign_id, c.name AS campaign_name,
       r.programme_id, f.id, f.lap_id, f.ecu, f.software_version, f.fault_code, f.state, f.generation,
       f.evidence -> 'policy' AS policy,
       (SELECT jsonb_object_agg(p.ecu, p.version)
          FROM jsonb_each(r.document -> 'variants') AS variant (name, packages)
         CROSS JOIN LATERAL jsonb_each_text(variant.packages) AS chosen (ecu, package_id)
          JOIN software_package p ON p.id = chosen.package_id) AS ecus
  FROM fact s
  LEFT JOIN outcome o ON s.kind = 'outcome.measured' AND o.id = s.subject
  JOIN campaign c ON c.id = coalesce(o.campaign_id, s.subject)
  JOIN release r ON r.id = c.release_id
  LEFT JOIN finding f ON f.lap_id = s.lap_id
 WHERE (s.kind = 'campaign.halted'
        OR s.kind = 'outcome.measured' AND s.body ->> 'verdict' IN ('worse', 'not_recovered'))
   AND (:fact_id::text IS NULL OR s.id = :fact_id)
   AND (f.closed_at IS NULL OR f.closed_at <= s.recorded_at)
   AND s.id NOT IN (SELECT unnest(answer.causes) FROM fact answer WHERE answer.kind = 'signal.observed')
 ORDER BY s.seq LIMIT :rows_max;

-- name: live_findings
SELECT id, lap_id, ecu, software_version, fault_code, state, generation FROM finding
 WHERE programme_id = :programme_id AND state IN ('open', 'accepted');

-- name: reopen_finding!
UPDATE finding SET state = 'open', state_reason = :reason, closed_at = NULL, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state <> 'open';

-- name: close_for_next!
UPDATE finding SET state = 'closed', state_reason = :reason, closed_at = :now, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state IN ('open', 'accepted');
