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

-- name: lock_silence$
SELECT pg_advisory_xact_lock(hashtext('ringroad.telemetry silence'));

-- name: hear_telemetry!
INSERT INTO telemetry_heard (heard_at) VALUES (:now)
ON CONFLICT (only_row) DO UPDATE SET heard_at = excluded.heard_at;

-- name: telemetry_heard_at$
SELECT heard_at FROM telemetry_heard;

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

-- Remote diagnostics ---------------------------------------------------------------------------------

-- name: diagnose_permission$
SELECT diagnose FROM account WHERE name = :account AND disabled_at IS NULL;

-- name: hold_diagnose_permission$
SELECT diagnose FROM account WHERE name = :account AND disabled_at IS NULL FOR SHARE;

-- name: diagnosed_vehicle^
SELECT vin, gateway, programme_id FROM vehicle WHERE vin = :vin;

-- name: insert_diagnostic_session!
INSERT INTO diagnostic_session (id, vin, account, scope, reason, state, asked_at, expires_at)
VALUES (:id, :vin, :account, :scope, :reason, 'asked', :now, :expires_at);

-- name: diagnostic_session_of^
SELECT *, EXISTS (SELECT FROM fact WHERE subject = diagnostic_session.id AND kind = 'diagnosis.asked'
                     AND (body ->> 'position')::boolean) AS position
  FROM diagnostic_session
 WHERE vin = :vin AND account = :account AND state IN ('asked', 'open') FOR UPDATE;

-- name: diagnostic_sessions_of
SELECT * FROM diagnostic_session
 WHERE account = :account AND state IN ('asked', 'open') ORDER BY vin FOR UPDATE;

-- name: diagnostic_sessions
SELECT *, coalesce((SELECT actor FROM fact WHERE subject = diagnostic_session.id AND ended_at IS NOT NULL
                       AND kind IN ('diagnosis.closed', 'diagnosis.declined', 'diagnosis.expired')
                     ORDER BY seq DESC LIMIT 1), '') AS ended_by,
       EXISTS (SELECT FROM fact WHERE subject = diagnostic_session.id AND kind = 'diagnosis.asked'
                  AND (body ->> 'position')::boolean) AS position
  FROM diagnostic_session
 WHERE vin = :vin AND (:id::text IS NULL OR id = :id) ORDER BY asked_at DESC, id DESC LIMIT :rows_max;

-- name: hold_diagnostic_session^
SELECT id, state FROM diagnostic_session
 WHERE id = :id AND vin = :vin AND state IN ('asked', 'open') FOR UPDATE;

-- name: settle_diagnostic_session!
UPDATE diagnostic_session SET state = :state, consent = :consent,
       ended_at = CASE WHEN :state = 'open' THEN NULL ELSE :now::timestamptz END
 WHERE id = :id AND state = 'asked';

-- name: end_diagnostic_session!
UPDATE diagnostic_session SET state = :state, ended_at = :now WHERE id = :id AND state IN ('asked', 'open');

-- name: diagnostic_sessions_over
SELECT id, vin FROM diagnostic_session WHERE state IN ('asked', 'open') AND expires_at <= :now
 ORDER BY expires_at LIMIT :rows_max FOR UPDATE SKIP LOCKED;

-- name: diagnostic_load^
SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
       count(*) FILTER (WHERE made_at > :since) AS last_minute
  FROM diagnostic_job WHERE vin = :vin AND made_at > :oldest;

-- name: insert_diagnostic_job!
INSERT INTO diagnostic_job (id, session_id, vin, method, path, body, state, made_at, expires_at, next_at)
VALUES (:id, :session_id, :vin, :method, :path, :body, 'queued', :now, :expires_at, :now);

-- name: diagnostic_job^
SELECT * FROM diagnostic_job WHERE id = :id AND vin = :vin;

-- name: diagnostic_jobs
SELECT id, session_id, vin, method, path, body, state, made_at, expires_at, tries, next_at, status, answered_at,
       CASE WHEN starts_with(path, '/bulk-data/') AND split_part(path, '/', 4) <> '' THEN NULL ELSE answer END AS answer  -- chunks are for who asked, one by one
  FROM diagnostic_job WHERE vin = :vin AND (:session_id::text IS NULL OR session_id = :session_id)
 ORDER BY made_at DESC, id DESC LIMIT :rows_max;

-- name: diagnostic_jobs_due
WITH sendable AS NOT MATERIALIZED (
    SELECT id, session_id, made_at, next_at FROM diagnostic_job AS job WHERE state = 'queued' AND expires_at > :now
       AND ((method = 'DELETE' AND path = '/sessions')
            OR EXISTS (SELECT FROM diagnostic_session AS session JOIN account ON account.name = session.account
                        WHERE session.id = job.session_id AND account.disabled_at IS NULL))),
due AS (SELECT session_id, made_at, id FROM sendable WHERE next_at <= :now ORDER BY next_at LIMIT :rows_max)
SELECT * FROM diagnostic_job AS job WHERE state = 'queued'
   AND (id, next_at) IN (  -- next_at too: what another server sent between our snapshot and our lock is not due any more
               SELECT sendable.id, sendable.next_at FROM due JOIN sendable USING (session_id)  -- what was asked before goes before it
               WHERE (sendable.made_at, sendable.id) <= (due.made_at, due.id))
 ORDER BY made_at, id FOR UPDATE OF job SKIP LOCKED;

-- name: diagnostic_job_sent!
UPDATE diagnostic_job SET tries = tries + 1, next_at = :next_at WHERE id = :id AND state = 'queued';

-- name: hold_session_of_job$
SELECT id FROM diagnostic_session
 WHERE id = (SELECT session_id FROM diagnostic_job WHERE id = :id AND vin = :vin) FOR UPDATE;

-- name: answer_diagnostic_job!
UPDATE diagnostic_job SET state = 'answered', status = :status, answer = :answer, answered_at = :now
 WHERE id = :id AND vin = :vin AND state = 'queued';

-- name: end_diagnostic_execution!
UPDATE diagnostic_job SET answer = :answer, answered_at = :now
 WHERE id = :id AND vin = :vin AND state = 'answered' AND method = 'POST' AND right(path, 11) = '/executions'
   AND answer ->> 'status' = 'running';

-- name: end_diagnostic_job!
UPDATE diagnostic_job SET state = :state, answered_at = :now WHERE id = :id AND state = 'queued';

-- name: diagnostic_jobs_over
SELECT id, session_id, vin FROM diagnostic_job WHERE state = 'queued' AND expires_at <= :now
 ORDER BY expires_at LIMIT :rows_max FOR UPDATE SKIP LOCKED;

-- name: diagnostic_jobs_open
SELECT id FROM diagnostic_job WHERE session_id = :session_id AND state = 'queued' FOR UPDATE;

-- name: forget_diagnostic_answers!
UPDATE diagnostic_job SET answer = NULL WHERE id IN (
    SELECT id FROM diagnostic_job WHERE answer IS NOT NULL AND answered_at < :before LIMIT :rows_max);

-- name: forget_bulk_answers!
UPDATE diagnostic_job SET answer = NULL WHERE id IN (
    SELECT id FROM diagnostic_job WHERE answer IS NOT NULL AND starts_with(path, '/bulk-data/') AND split_part(path, '/', 4) <> '' AND answered_at < :before
     LIMIT :rows_max);

-- name: forget_diagnostic_jobs
DELETE FROM diagnostic_job WHERE id IN (
    SELECT id FROM diagnostic_job WHERE made_at < :before AND state <> 'queued' ORDER BY made_at LIMIT :rows_max)
RETURNING id;

-- name: insert_diagnostic_sample!
INSERT INTO diagnostic_sample (job_id, number, at, data)
SELECT job.id, :number, :at, :data FROM diagnostic_job AS job JOIN diagnostic_session AS session ON session.id = job.session_id
 WHERE job.id = :job_id AND job.vin = :vin AND job.method = 'POST' AND right(job.path, 21) = '/cyclic-subscriptions'
   AND session.state = 'open'
ON CONFLICT DO NOTHING;

-- name: diagnostic_samples
SELECT number, at, data FROM diagnostic_sample WHERE job_id = :job_id AND number > :after ORDER BY number LIMIT :rows_max;

-- name: newest_diagnostic_samples
SELECT sample.job_id, sample.number, sample.at, sample.data, job.path
  FROM diagnostic_job AS job
  JOIN LATERAL (SELECT * FROM diagnostic_sample WHERE job_id = job.id ORDER BY number DESC LIMIT :each_max) AS sample ON true
 WHERE job.session_id = :session_id AND right(job.path, 21) = '/cyclic-subscriptions' AND job.method = 'POST'
 ORDER BY job.made_at DESC, sample.job_id, sample.number DESC LIMIT :rows_max;

-- name: next_diagnostic_at$
SELECT min(next_at) FROM diagnostic_job WHERE state = 'queued';

-- Names of data and faults -----------------------------------------------------------------------------

-- name: programme_has_ecu^
SELECT (:ecu = '*' OR document -> 'ecus' ? :ecu) AS known FROM programme WHERE id = :programme_id;

-- name: names_digest^
SELECT digest FROM ecu_names WHERE programme_id = :programme_id AND ecu = :ecu FOR UPDATE;

-- name: put_names!
INSERT INTO ecu_names (programme_id, ecu, data, faults, source, digest, imported_by, imported_at)
VALUES (:programme_id, :ecu, :data, :faults, :source, :digest, :imported_by, :imported_at)
ON CONFLICT (programme_id, ecu) DO UPDATE
   SET data = excluded.data, faults = excluded.faults, source = excluded.source, digest = excluded.digest,
       imported_by = excluded.imported_by, imported_at = excluded.imported_at;

-- name: remove_names!
DELETE FROM ecu_names WHERE programme_id = :programme_id AND ecu = :ecu;

-- name: names_of
SELECT ecu, data, faults FROM ecu_names WHERE programme_id = :programme_id;

-- name: build_weeks
SELECT to_char(born_at AT TIME ZONE 'UTC', 'IYYY-"W"IW') AS lot, count(*) AS vehicles,
       array_remove(array_agg(CASE WHEN vin = ANY (:vins::text[]) THEN vin END), NULL) AS vins
  FROM vehicle WHERE programme_id = :programme_id
 GROUP BY 1 ORDER BY 1 DESC LIMIT :rows_max;

-- name: fault_lots
-- Lots of parts that went into these vehicles, those of most of them first, and how many vehicles have each.
SELECT seen.thing AS part, seen.value AS lot, seen.vins,
       (SELECT count(*) FROM birth_trait had
         WHERE had.programme_id = :programme_id AND had.kind = 'lot' AND had.thing = seen.thing AND had.value = seen.value) AS vehicles
  FROM (SELECT thing, value, array_agg(vin ORDER BY vin) AS vins
          FROM birth_trait
         WHERE programme_id = :programme_id AND kind = 'lot' AND vin = ANY (:vins::text[])
         GROUP BY thing, value ORDER BY count(*) DESC, thing, value LIMIT :rows_max) seen
 ORDER BY seen.thing, seen.value;
