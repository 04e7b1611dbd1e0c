-- name: newest_drawn$
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM fact_seq_seq;

-- name: fact_writers
-- An INSERT takes this lock before it draws a number, and keeps it until its transaction is over.
SELECT DISTINCT virtualtransaction FROM pg_locks
 WHERE locktype = 'relation' AND relation = 'fact'::regclass AND mode = 'RowExclusiveLock' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: events_after
SELECT seq, id, kind, stage, subject, lap_id, causes, actor, work_started_at, event_at, recorded_at, body
  FROM fact
 WHERE :after_seq < seq AND seq <= :settled_seq
   AND (:kinds::text[] IS NULL OR kind = ANY (:kinds::text[]))
 ORDER BY seq LIMIT :rows_max;

-- name: seq_of_fact$
SELECT seq FROM fact WHERE id = :fact_id;

-- name: seq_before$
SELECT seq FROM fact WHERE recorded_at < :since ORDER BY seq DESC LIMIT 1;

-- name: id_up_to$
SELECT id FROM fact WHERE seq <= :seq ORDER BY seq DESC LIMIT 1;

-- name: insert_webhook!
INSERT INTO webhook (id, url, types, state, salt, key_id, cursor_seq, created_by, created_at)
VALUES (:id, :url, :types, 'active', :salt, :key_id, :cursor_seq, :created_by, :created_at);

-- name: webhooks
SELECT id, url, types, state, state_reason, salt, key_id, old_salt, old_until, generation, cursor_seq, failures,
       failing_since, next_attempt_at, delivered_at, created_by, created_at,
       (SELECT count(*) FROM webhook_replay r WHERE r.webhook_id = webhook.id) AS replays
  FROM webhook
 WHERE (:webhook_id::text IS NULL OR id = :webhook_id)
 ORDER BY created_at, id;

-- name: webhooks_due
SELECT id, url, types, state, state_reason, salt, key_id, old_salt, old_until, generation, cursor_seq, failures,
       failing_since, next_attempt_at, delivered_at, created_by, created_at, 0 AS replays
  FROM webhook
 WHERE state = 'active' AND (next_attempt_at IS NULL OR next_attempt_at <= :now)
 ORDER BY id;

-- name: count_webhooks$
SELECT count(*) FROM webhook;

-- name: change_webhook!
UPDATE webhook
   SET url = coalesce(:url, url), types = coalesce(:types::text[], types), state = coalesce(:state, state),
       state_reason = CASE WHEN :state::text IS NULL THEN state_reason ELSE '' END,
       failures = 0, failing_since = NULL, next_attempt_at = NULL, generation = generation + 1
 WHERE id = :id AND generation = :generation;

-- name: disable_webhook!
UPDATE webhook SET state = 'disabled', state_reason = :reason, next_attempt_at = NULL, generation = generation + 1
 WHERE id = :id AND generation = :generation AND state = 'active';

-- name: rotate_webhook!
UPDATE webhook
   SET old_salt = CASE WHEN key_id = :key_id THEN salt END,
       old_until = CASE WHEN key_id = :key_id THEN :old_until::timestamptz END,
       salt = :salt, key_id = :key_id, next_attempt_at = NULL, generation = generation + 1
 WHERE id = :id AND generation = :generation;

-- name: move_webhook!
UPDATE webhook SET cursor_seq = :cursor_seq, failures = 0, failing_since = NULL, next_attempt_at = NULL,
                   generation = generation + 1
 WHERE id = :id AND generation = :generation;

-- name: delete_webhook!
DELETE FROM webhook WHERE id = :id;

-- name: ask_replay!
INSERT INTO webhook_replay (webhook_id, seq, asked_at)
SELECT :webhook_id, :seq, :asked_at
 WHERE (SELECT count(*) FROM webhook_replay WHERE webhook_id = :webhook_id) < :replays_max
ON CONFLICT DO NOTHING;

-- name: next_replay^
SELECT f.seq, f.id, f.kind, f.stage, f.subject, f.lap_id, f.causes, f.actor, f.work_started_at, f.event_at,
       f.recorded_at, f.body
  FROM webhook_replay r JOIN fact f ON f.seq = r.seq
 WHERE r.webhook_id = :webhook_id ORDER BY r.asked_at, r.seq LIMIT 1;

-- name: end_replay!
DELETE FROM webhook_replay WHERE webhook_id = :webhook_id AND seq = :seq;

-- name: note_delivered!
-- An answer to what was sent before somebody moved the cursor moves nothing.
UPDATE webhook SET cursor_seq = coalesce(:cursor_seq, cursor_seq), failures = 0, failing_since = NULL,
                   next_attempt_at = NULL, delivered_at = :now
 WHERE id = :id AND generation = :generation;

-- name: note_failed!
UPDATE webhook SET failures = failures + 1, failing_since = coalesce(failing_since, :now), next_attempt_at = :at
 WHERE id = :id AND generation = :generation;

-- name: skip_to!
UPDATE webhook SET cursor_seq = :cursor_seq WHERE id = :id AND generation = :generation AND cursor_seq < :cursor_seq;

-- name: log_delivery$
INSERT INTO webhook_delivery (webhook_id, seq, fact_id, kind, attempt, replayed, outcome, status, sent_at, took_ms)
SELECT id, :seq, :fact_id, :kind, :attempt, :replayed, :outcome, :status, :sent_at, :took_ms
  FROM webhook WHERE id = :webhook_id
RETURNING id;

-- name: trim_deliveries!
DELETE FROM webhook_delivery
 WHERE webhook_id = :webhook_id
   AND id <= (SELECT id FROM webhook_delivery WHERE webhook_id = :webhook_id ORDER BY id DESC OFFSET :kept LIMIT 1);

-- name: deliveries
SELECT id, fact_id, kind, attempt, replayed, outcome, status, sent_at, took_ms
  FROM webhook_delivery
 WHERE webhook_id = :webhook_id AND (:failed::boolean IS NULL OR (outcome <> 'delivered') = :failed)
 ORDER BY id DESC LIMIT :rows_max;

-- name: take_deliverer$
SELECT pg_try_advisory_lock(:key);

-- name: is_campaign$
SELECT EXISTS (SELECT FROM campaign WHERE id = :campaign_id);

-- name: export_vehicles
SELECT v.vin, v.programme_id, v.variant, v.region, v.tags, v.gateway, v.release_id, r.version AS release_version,
       v.blocked_reason, v.born_at, v.attributes
  FROM vehicle v LEFT JOIN release r ON r.id = v.release_id
 WHERE :after_text::text IS NULL OR v.vin > :after_text
 ORDER BY v.vin;

-- name: count_export_vehicles$
SELECT count(*) FROM vehicle WHERE :after_text::text IS NULL OR vin > :after_text;

-- name: export_ecus
-- Every ECU on board, with what it runs as it said last; nothing of one that never said it.
SELECT e.vin, v.programme_id, v.variant, e.name AS ecu, e.serial, e.hardware_id, e.is_primary, i.version, i.filename,
       i.image_sha256, i.reported_at, e.added_at
  FROM ecu e JOIN vehicle v ON v.vin = e.vin LEFT JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
 WHERE e.removed_at IS NULL
   AND (:after_text::text IS NULL OR (e.vin, e.serial) > (:after_text, :after_second::text))
 ORDER BY e.vin, e.serial;

-- name: count_export_ecus$
SELECT count(*) FROM ecu
 WHERE removed_at IS NULL AND (:after_text::text IS NULL OR (vin, serial) > (:after_text, :after_second::text));

-- name: export_results
-- Every vehicle of the current plan, and every action of the campaign, also those of an earlier plan.
-- An action without a release of its own is about the campaign's.
SELECT coalesce(t.vin, a.vin) AS vin, v.variant, v.region, t.verdict, t.reason, coalesce(a.wave, t.wave) AS wave, a.action_id,
       a.kind, a.state, a.state_detail, r.id AS release_id, r.version AS release_version, a.previous_release_id, a.offered_at,
       a.deadline_at, a.began_at, a.last_report_at, a.finished_at, a.claimed_at
  FROM (SELECT vin, verdict, reason, wave FROM campaign_target
         WHERE plan_id = (SELECT plan_id FROM campaign WHERE id = :campaign_id)) t
  FULL JOIN (SELECT vin, wave, action_id, kind, state, state_detail, previous_release_id, offered_at, deadline_at,
                    began_at, last_report_at, finished_at, claimed_at,
                    coalesce(release_id, (SELECT release_id FROM campaign WHERE id = :campaign_id)) AS release_id
               FROM assignment WHERE campaign_id = :campaign_id) a ON a.vin = t.vin
  LEFT JOIN vehicle v ON v.vin = coalesce(t.vin, a.vin)
  LEFT JOIN release r ON r.id = a.release_id
 WHERE :after_text::text IS NULL OR coalesce(t.vin, a.vin) > :after_text
    OR (coalesce(t.vin, a.vin) = :after_text AND a.action_id > :after_number::bigint)
 ORDER BY 1, a.action_id;

-- name: count_export_results$
SELECT count(*)
  FROM (SELECT vin FROM campaign_target
         WHERE plan_id = (SELECT plan_id FROM campaign WHERE id = :campaign_id)) t
  FULL JOIN (SELECT vin, action_id FROM assignment WHERE campaign_id = :campaign_id) a ON a.vin = t.vin
 WHERE :after_text::text IS NULL OR coalesce(t.vin, a.vin) > :after_text
    OR (coalesce(t.vin, a.vin) = :after_text AND a.action_id > :after_number::bigint);

-- name: export_decisions
-- What it saw of its wave, and of all waves released so far; the oldest decisions saw one wave alone.
SELECT d.id, d.wave, d.decision, d.reason, d.decided_at, w.*, s.vehicles_targeted AS released_targeted,
       s.vehicles_installed AS released_installed, s.vehicles_downloaded AS released_downloaded,
       s.vehicles_failed AS released_failed, s.vehicles_rolled_back AS released_rolled_back,
       s.vehicles_lost AS released_lost, s.vehicles_silent AS released_silent, s.vehicles_cancelled AS released_cancelled,
       (d.facts #>> '{evidence,id}')::bigint AS reading_id, nullif(d.facts #>> '{evidence,refused}', '') AS refused,
       p.*, (d.policy #>> '{sequential,alpha_ppm}')::bigint AS alpha_ppm, d.facts, d.policy
  FROM gate_decision d
 CROSS JOIN LATERAL jsonb_to_record(coalesce(d.facts -> 'wave', d.facts)) AS w(
       vehicles_targeted bigint, vehicles_installed bigint, vehicles_downloaded bigint, vehicles_failed bigint,
       vehicles_rolled_back bigint, vehicles_lost bigint, vehicles_silent bigint, vehicles_cancelled bigint,
       newest_report_at timestamptz)
 CROSS JOIN LATERAL jsonb_to_record(coalesce(d.facts -> 'released', '{}')) AS s(
       vehicles_targeted bigint, vehicles_installed bigint, vehicles_downloaded bigint, vehicles_failed bigint,
       vehicles_rolled_back bigint, vehicles_lost bigint, vehicles_silent bigint, vehicles_cancelled bigint)
 CROSS JOIN LATERAL jsonb_to_record(d.policy) AS p(
       failed_permille_max bigint, reports_min bigint, soak_s bigint, silence_s_max bigint, silent_permille_max bigint)
 WHERE d.campaign_id = :campaign_id AND (:after_number::bigint IS NULL OR d.id > :after_number) ORDER BY d.id;

-- name: count_export_decisions$
SELECT count(*) FROM gate_decision
 WHERE campaign_id = :campaign_id AND (:after_number::bigint IS NULL OR id > :after_number);

-- name: export_evidence
-- What a row of counts adds, in plain columns; `ship/ticks.py` says what the counts mean.
SELECT t.id, t.metric, t.stratum, to_timestamp(t.tick * s.tick_s) AS tick_began_at, s.tick_s,
       CASE WHEN NOT k.measured THEN (t.counts ->> 0)::bigint END AS updated_events,
       CASE WHEN NOT k.measured THEN (t.counts ->> 1)::bigint END AS control_events,
       CASE WHEN k.timed THEN (t.counts ->> 4)::float8 / 3600000000 END AS updated_hours,
       CASE WHEN k.timed THEN (t.counts ->> 5)::float8 / 3600000000 END AS control_hours,
       CASE WHEN k.tried THEN (t.counts ->> 4)::bigint END AS updated_trials,
       CASE WHEN k.tried THEN (t.counts ->> 5)::bigint END AS control_trials,
       CASE WHEN k.measured THEN (t.counts ->> 0)::bigint END AS updated_measured,
       CASE WHEN k.measured THEN (t.counts ->> 3)::bigint END AS control_measured,
       CASE WHEN k.measured THEN (t.counts ->> 1)::float8 / nullif((t.counts ->> 0)::float8, 0) / 1000000 END AS updated_mean,
       CASE WHEN k.measured THEN (t.counts ->> 4)::float8 / nullif((t.counts ->> 3)::float8, 0) / 1000000 END AS control_mean,
       t.recorded_at, t.tick, t.counts
  FROM gate_tick t
 CROSS JOIN LATERAL (SELECT t.metric IN ('boot_time', 'energy') AS measured, t.metric = 'silence' AS tried,
                            t.metric IN ('fault', 'boot_loop') AS timed) k
  LEFT JOIN (SELECT p.campaign_id, (p.document #>> '{request,gate,sequential,tick_s}')::bigint AS tick_s
               FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id) s ON s.campaign_id = t.campaign_id
 WHERE t.campaign_id = :campaign_id AND (:after_number::bigint IS NULL OR t.id > :after_number) ORDER BY t.id;

-- name: count_export_evidence$
SELECT count(*) FROM gate_tick
 WHERE campaign_id = :campaign_id AND (:after_number::bigint IS NULL OR id > :after_number);

-- name: export_facts
SELECT seq, id, kind, stage, subject, lap_id, causes, actor, work_started_at, event_at, recorded_at, body
  FROM fact
 WHERE (:after_number::bigint IS NULL OR seq > :after_number) AND (:settled_seq::bigint IS NULL OR seq <= :settled_seq)
 ORDER BY seq;

-- name: count_export_facts$
SELECT count(*) FROM fact
 WHERE (:after_number::bigint IS NULL OR seq > :after_number) AND (:settled_seq::bigint IS NULL OR seq <= :settled_seq);
