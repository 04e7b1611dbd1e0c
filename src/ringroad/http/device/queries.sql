-- name: devices
SELECT vin, gateway, token_sha256, attributes - 'time_zone' = '{}'::jsonb AS config_wanted,
       attributes ->> 'time_zone' AS time_zone, auto_confirm IS NOT NULL AS auto_confirm,
       certificates, certificates_after, enrolment_sha256,
       coalesce(attributes ->> 'honours_skip', '') = 'true' AS honours_skip, schedule, changed_seq
  FROM vehicle WHERE changed_seq > :after_seq;

-- name: assignments
SELECT a.action_id, a.vin, a.kind, a.state, a.changed_seq, a.campaign_id,
       coalesce(a.release_id, c.release_id) AS release_id, v.variant, a.packages::text AS packages,
       a.state = 'pending' AND c.state = 'running' AS chosen,
       a.consented_at IS NOT NULL AS consented, a.claimed_at IS NOT NULL AS claimed,
       CASE WHEN a.state <> 'cancelling' THEN ''
            WHEN c.state = 'aborted' THEN 'a person at the maker ended its campaign' || coalesce(': ' || (
                 SELECT f.body ->> 'told' FROM fact f WHERE f.subject = c.id AND f.kind = 'campaign.aborted' LIMIT 1), '')
            WHEN c.state = 'halted' THEN 'its campaign was halted: ' || replace(c.state_reason, '_', ' ')
            WHEN starts_with(a.state_detail, 'gave way to ') THEN 'it ' || a.state_detail
            WHEN starts_with(a.state_detail, 'declined by ') AND a.state_detail <> 'declined by its driver'
            THEN 'declined by who answers for its driver'
            ELSE 'declined by its driver' END AS reason,
       CASE WHEN a.claimed_at IS NULL THEN false
            ELSE coalesce(p.document -> 'success' -> v.variant -> 'attributes', '{}') <> '{}' END AS asked,
       a.state = 'installed' AND NOT EXISTS (
           SELECT FROM assignment later WHERE later.vin = a.vin AND later.state = 'installed'
              AND (later.finished_at, later.action_id) > (a.finished_at, a.action_id)) AS ended_last
  FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id
  LEFT JOIN campaign_plan p ON p.id = c.plan_id
  JOIN vehicle v ON v.vin = a.vin
 WHERE a.changed_seq > :after_seq
   AND (a.state <> 'pending' OR a.released_at IS NOT NULL OR a.offered_at IS NOT NULL)
   AND (:after_seq > 0 OR a.state IN ('offered', 'active', 'cancelling') OR a.state = 'pending' AND c.state = 'running')
   AND NOT EXISTS (SELECT 1 FROM device_report r
                    WHERE r.action_id = a.action_id AND r.vin = a.vin AND r.kind = 'closed' AND r.applied_at IS NULL)
 ORDER BY a.changed_seq;

-- name: terms
SELECT c.id, nullif(p.document -> 'request' -> 'window', 'null'::jsonb) AS window,
       (p.document ->> 'install_s_estimate')::int AS install_s,
       coalesce(p.document -> 'request' ->> 'urgency', 'forced') AS urgency,
       coalesce((p.document -> 'request' ->> 'consent')::boolean, false) AS consent,
       coalesce((p.document -> 'request' ->> 'recall')::boolean, false) AS recall
  FROM campaign c LEFT JOIN campaign_plan p ON p.id = c.plan_id
 WHERE c.state IN ('running', 'paused') AND c.id <> ALL (:known::text[]);

-- name: installed_actions
-- The last that ended, not the highest number: a campaign that gave way ends after the one that went first.
SELECT a.vin, (max(ARRAY[extract(epoch FROM a.finished_at), a.action_id]))[2]::integer AS action_id
  FROM assignment a JOIN vehicle v ON v.vin = a.vin AND v.gateway = 'ddi'
 WHERE a.state = 'installed' GROUP BY a.vin;

-- name: installed_action^
SELECT a.action_id, coalesce(a.release_id, c.release_id) AS release_id, v.variant, a.packages::text AS packages
  FROM assignment a JOIN campaign c ON c.id = a.campaign_id JOIN vehicle v ON v.vin = a.vin
 WHERE a.action_id = :action_id AND a.vin = :vin AND a.state = 'installed';

-- name: action_state$
SELECT state FROM assignment WHERE action_id = :action_id AND vin = :vin;

-- name: action_history
SELECT body FROM device_report WHERE vin = :vin AND action_id = :action_id ORDER BY id DESC LIMIT :rows_max;

-- name: standing_consent$
SELECT auto_confirm FROM vehicle WHERE vin = :vin;

-- name: stated_release^
SELECT r.id, r.id IS NOT DISTINCT FROM v.release_id AS known
  FROM vehicle v JOIN release r ON r.programme_id = v.programme_id AND r.version = :version AND r.name = :name
 WHERE v.vin = :vin AND r.state IN ('signed', 'withdrawn') AND r.document -> 'variants' ? v.variant;

-- name: bundle_packages
SELECT p.id, p.ecu, p.name, p.version, p.filename, p.image_sha256, p.image_bytes
  FROM release r, jsonb_each_text(coalesce(nullif(:packages, '')::jsonb, r.document -> 'variants' -> :variant)) AS chosen (ecu, package_id)
  JOIN software_package p ON p.id = chosen.package_id
 WHERE r.id = :release_id
 ORDER BY p.ecu;

-- name: image_by_name^
SELECT filename, image_sha256, image_bytes FROM software_package WHERE filename = :filename AND image_sha256 = :sha256;

-- name: delta_by_sha256^
SELECT sha256 AS image_sha256, delta_bytes AS image_bytes FROM image_delta WHERE sha256 = :sha256 LIMIT 1;

-- name: metadata
-- One row per question that has an answer; version 0 asks for the newest.
SELECT asked.repository, asked.vin, asked.role, asked.version, found.bytes
  FROM unnest(:repositories::text[], :vins::text[], :roles::text[], :versions::int[])
       AS asked (repository, vin, role, version)
 CROSS JOIN LATERAL (
       SELECT m.version, m.bytes FROM repository_metadata m
        WHERE m.repository = asked.repository AND m.vin = asked.vin AND m.role = asked.role
          AND m.version <= coalesce(nullif(asked.version, 0), 2147483647)
        ORDER BY m.version DESC LIMIT 1) AS found
 WHERE asked.version IN (0, found.version);

-- name: gateway_tokens
SELECT token_sha256 FROM gateway_token WHERE revoked_at IS NULL;

-- name: enrol_certificate$
-- What the vehicle had before ends: somebody let it enrol again.
UPDATE vehicle SET certificates = :certificates::bytea[], certificate_until = :certificate_until,
       enrolment_sha256 = NULL, enrolment_until = NULL, generation = generation + 1
 WHERE vin = :vin AND enrolment_sha256 = :enrolment_sha256 AND :now < enrolment_until
RETURNING changed_seq;

-- name: renew_certificate$
-- The one that it showed stays good until the next renewal: an answer may be lost on its way.
UPDATE vehicle SET certificates = :certificates::bytea[], certificate_until = :certificate_until,
       generation = generation + 1
 WHERE vin = :vin AND :shown = ANY (certificates)
RETURNING changed_seq;

-- name: enrol_token$
UPDATE vehicle SET token_sha256 = :token_sha256, enrolment_sha256 = NULL, enrolment_until = NULL,
       generation = generation + 1
 WHERE vin = :vin AND enrolment_sha256 = :enrolment_sha256 AND :now < enrolment_until
RETURNING changed_seq;

-- name: note_contacts!
-- What is recent is read and not written again: another process may have noted it, or this one before it started.
WITH known AS (
    UPDATE vehicle_contact SET heard_at = :now
     WHERE vin = ANY (:vins::text[]) AND heard_at < :now::timestamptz - :recent_s * interval '1 s')
INSERT INTO vehicle_contact (vin, heard_at)
SELECT vin, :now FROM unnest(:vins::text[]) AS given (vin)
 WHERE NOT EXISTS (SELECT FROM vehicle_contact c WHERE c.vin = given.vin)
    ON CONFLICT (vin) DO NOTHING;
