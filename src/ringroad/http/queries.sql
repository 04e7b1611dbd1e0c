-- name: insert_account!
INSERT INTO account (name, role, created_at) VALUES (:name, :role, :created_at) ON CONFLICT DO NOTHING;

-- name: insert_token!
INSERT INTO access_token (token_sha256, account_name, kind, created_at, expires_at)
SELECT :token_sha256, name, :kind, :created_at, :expires_at FROM account
 WHERE name = :account_name AND disabled_at IS NULL;

-- name: account_of_token^
SELECT a.name, a.role, t.kind
  FROM access_token t JOIN account a ON a.name = t.account_name
 WHERE t.token_sha256 = :token_sha256 AND t.kind = ANY(:kinds::text[]) AND :now < t.expires_at
   AND (t.kind <> 'one_time' OR t.used_at IS NULL) AND a.disabled_at IS NULL;

-- name: account_for_login^
SELECT name, role, password_hash FROM account WHERE name = :name AND disabled_at IS NULL;

-- name: admins_with_password$
SELECT count(*) FROM account WHERE role = 'admin' AND disabled_at IS NULL AND password_hash IS NOT NULL;

-- name: use_token!
UPDATE access_token SET used_at = :now WHERE token_sha256 = :token_sha256 AND used_at IS NULL;

-- name: set_password!
UPDATE account SET password_hash = :password_hash WHERE name = :name;

-- name: delete_token!
DELETE FROM access_token WHERE token_sha256 = :token_sha256;

-- name: delete_tokens!
DELETE FROM access_token WHERE account_name = :account_name AND (:kind::text IS NULL OR kind = :kind);

-- name: account_fleets
SELECT account_name, kind, name FROM account_fleet ORDER BY account_name, kind, name;

-- name: drop_fleet!
DELETE FROM account_fleet WHERE account_name = :name AND kind = :kind;

-- name: add_fleet!
INSERT INTO account_fleet (account_name, kind, name) SELECT :name, :kind, unnest(:names::text[]);

-- name: known_lists
SELECT name FROM vehicle_list WHERE name = ANY (:names) FOR SHARE;

-- name: is_own$
SELECT EXISTS (SELECT FROM account_vehicle WHERE account_name = :fleet AND vin = :vin);

-- name: vehicles_named
-- Of a fleet's own, or of all: those of these VINs, with this tag, of this list.
SELECT v.vin FROM vehicle v
 WHERE (:fleet::text IS NULL OR v.vin IN (SELECT vin FROM account_vehicle WHERE account_name = :fleet))
   AND (:vins::text[] IS NULL OR v.vin = ANY (:vins)) AND (:tag::text IS NULL OR v.tags @> ARRAY[:tag::text])
   AND (:list::text IS NULL OR v.vin IN (SELECT vin FROM vehicle_list_member WHERE list_name = :list))
 ORDER BY v.vin LIMIT :rows_max;

-- name: own_hours
-- Vehicles of the same hours together, most vehicles first.
SELECT v.schedule - 'put_off_since' AS schedule, count(*) AS vehicles, min(v.vin) AS example FROM vehicle v
 WHERE (:fleet::text IS NULL OR v.vin IN (SELECT vin FROM account_vehicle WHERE account_name = :fleet))
   AND (:tag::text IS NULL OR v.tags @> ARRAY[:tag::text])
   AND (:list::text IS NULL OR v.vin IN (SELECT vin FROM vehicle_list_member WHERE list_name = :list))
 GROUP BY 1 ORDER BY count(*) DESC, min(v.vin) LIMIT :rows_max;

-- name: fleet_names
SELECT kind, name FROM account_fleet WHERE account_name = :fleet ORDER BY kind, name;

-- name: fleet_overview^
WITH own AS MATERIALIZED (SELECT vin FROM account_vehicle WHERE account_name = :fleet)
SELECT (SELECT count(*) FROM own) AS vehicles,
       (SELECT count(*) FROM assignment a JOIN own ON own.vin = a.vin
         WHERE a.state IN ('offered', 'active', 'cancelling')) AS vehicles_updating,
       (SELECT count(*) FROM vehicle v JOIN own ON own.vin = v.vin
         WHERE v.blocked_reason IS NOT NULL) AS vehicles_blocked;

-- name: vehicle_schedule$
SELECT schedule FROM vehicle WHERE vin = :vin;

-- name: accounts
SELECT a.name, a.role, a.created_at, a.disabled_at, a.diagnose, a.password_hash IS NOT NULL AS has_password,
       count(t.*) FILTER (WHERE t.kind = 'api' AND t.expires_at > now()) AS api_tokens
  FROM account a LEFT JOIN access_token t ON t.account_name = a.name
 GROUP BY a.name ORDER BY a.name;

-- name: update_account!
UPDATE account
   SET role = coalesce(:role::text, role),
       diagnose = CASE WHEN coalesce(:role::text, role) = 'fleet' THEN ''
                       WHEN role = 'fleet' THEN coalesce(:diagnose::text, '')
                       ELSE coalesce(:diagnose::text, diagnose) END,
       disabled_at = CASE :disabled::boolean WHEN true THEN coalesce(disabled_at, :now) WHEN false THEN NULL
                     ELSE disabled_at END
 WHERE name = :name;

-- name: account_role$
SELECT role FROM account WHERE name = :name;

-- name: admins$
SELECT count(*) FROM account WHERE role = 'admin' AND disabled_at IS NULL;

-- Read models of the console: joins across stages, never written here. -----------------------------

-- name: overview^
SELECT
    (SELECT count(*) FROM finding WHERE state = 'open') AS findings_open,
    (SELECT count(*) FROM complaint) AS complaints,
    (SELECT count(*) FROM quarantine) AS quarantined,
    (SELECT count(*) FROM change WHERE state = 'proposed') AS changes_proposed,
    (SELECT count(*) FROM change WHERE state = 'approved') AS changes_approved,
    (SELECT count(*) FROM release WHERE state IN ('draft', 'checked')) AS releases_open,
    (SELECT count(*) FROM release WHERE state = 'signed') AS releases_signed,
    (SELECT count(*) FROM plant_order WHERE state IN ('open', 'building')) AS orders_open,
    (SELECT count(*) FROM campaign WHERE state IN ('planned', 'approved', 'running', 'paused')) AS campaigns_open,
    (SELECT count(*) FROM campaign c WHERE c.state IN ('running', 'paused') AND (
            SELECT starts_with(g.reason, 'harm_seen') FROM gate_decision g
             WHERE g.campaign_id = c.id AND (starts_with(g.reason, 'harm_seen') OR g.decision IN ('advance', 'grow', 'finish')
                   OR split_part(g.reason, ': ', 1) IN ('budget_in_flight', 'outcomes_awaited', 'watching', 'before_its_time')
                   OR g.reason = 'soaking' AND (g.facts -> 'rest' -> 'last_wave')::boolean
                      AND (g.facts -> 'rest' -> 'harm_ends')::boolean)
             ORDER BY g.id DESC LIMIT 1)) AS campaigns_harm_holds,
    (SELECT coalesce(sum(vehicles), 0)::bigint FROM campaign_tally
      WHERE minute = '-infinity' AND state IN ('offered', 'active', 'cancelling')) AS vehicles_updating,
    (SELECT count(*) FROM outcome) AS outcomes,
    (SELECT count(*) FROM outcome WHERE verdict = 'better') AS outcomes_better,
    (SELECT coalesce(sum(vehicles), 0)::bigint FROM fleet_tally) AS vehicles,
    (SELECT coalesce(sum(vehicles), 0)::bigint FROM fleet_tally WHERE blocked) AS vehicles_blocked,
    (SELECT count(*) FROM lap) AS laps,
    (SELECT coalesce(max(seq), 0) FROM fact) AS facts;

-- name: facts_latest
SELECT seq, id, kind, stage, subject, lap_id, causes, actor, work_started_at, event_at, recorded_at, body
  FROM fact
 WHERE (:subject::text IS NULL OR subject = :subject)
   AND (:lap_id::text IS NULL OR lap_id = :lap_id)
   AND (:stage::text IS NULL OR stage = :stage)
   AND (:kind::text IS NULL OR kind = :kind)
   AND (:fact_id::text IS NULL OR id = :fact_id OR :fact_id = ANY (causes))
   AND (:before_seq::bigint IS NULL OR seq < :before_seq)
 ORDER BY seq DESC LIMIT :rows_max;

-- name: laps
SELECT l.id, l.title, l.opened_at, f.title AS finding_title, f.id AS finding_id, f.state AS finding_state,
       (SELECT verdict FROM outcome o
         WHERE o.lap_id = l.id AND (o.measure ->> 'measure') IS DISTINCT FROM 'recovery'
         ORDER BY measured_at DESC LIMIT 1) AS verdict,
       (SELECT kind FROM fact WHERE lap_id = l.id ORDER BY seq DESC LIMIT 1) AS latest_kind
  FROM lap l LEFT JOIN finding f ON f.lap_id = l.id
 WHERE (:lap_id::text IS NULL OR l.id = :lap_id)
 ORDER BY l.opened_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: vins
-- Who is asked for, by an index for each filter: a filter that is none is no part of the plan (`http/context.py`).
-- Here and below, what was never offered is as old as its release to it, or as its approval: older than what ended since.
SELECT v.vin FROM vehicle v
 WHERE (:vin::text IS NULL OR v.vin = :vin)
   AND (:q::text IS NULL OR position(upper(:q) IN v.vin) > 0)
   AND (:programme_id::text IS NULL OR v.programme_id = :programme_id)
   AND (:variant::text IS NULL OR v.variant = :variant)
   AND CASE WHEN :release_id::text IS NULL THEN true WHEN :release_id = 'none' THEN v.release_id IS NULL
            ELSE v.release_id = :release_id END
   AND (:fleet::text IS NULL OR v.vin IN (SELECT vin FROM account_vehicle WHERE account_name = :fleet))
   AND CASE :state::text
       WHEN 'blocked' THEN v.blocked_reason IS NOT NULL
       WHEN 'quiet' THEN v.blocked_reason IS NULL AND coalesce(
            (SELECT a.state NOT IN ('offered', 'active', 'cancelling', 'failed', 'rolled_back', 'expired') FROM assignment a
              WHERE a.vin = v.vin ORDER BY a.state IN ('offered', 'active', 'cancelling') DESC, coalesce(a.finished_at, a.offered_at, greatest(a.released_at, a.last_report_at), (SELECT approved_at FROM campaign JOIN campaign_plan ON campaign_plan.id = plan_id WHERE campaign.id = a.campaign_id)) DESC, a.action_id DESC LIMIT 1), true)
       ELSE true END
 ORDER BY v.vin LIMIT :rows_max OFFSET :rows_skip;

-- name: vins_of_updates
-- The same for those whose update is in one of some states; what a vehicle works on counts before its newest.
SELECT v.vin FROM assignment a JOIN vehicle v ON v.vin = a.vin
 WHERE CASE :state WHEN 'updating' THEN a.state IN ('offered', 'active', 'cancelling')
            ELSE a.state IN ('failed', 'rolled_back', 'expired') AND a.action_id =
                 (SELECT o.action_id FROM assignment o WHERE o.vin = a.vin
                   ORDER BY o.state IN ('offered', 'active', 'cancelling') DESC, coalesce(o.finished_at, o.offered_at, greatest(o.released_at, o.last_report_at), (SELECT approved_at FROM campaign JOIN campaign_plan ON campaign_plan.id = plan_id WHERE campaign.id = o.campaign_id)) DESC, o.action_id DESC LIMIT 1) END
   AND (:vin::text IS NULL OR v.vin = :vin)
   AND (:q::text IS NULL OR position(upper(:q) IN v.vin) > 0)
   AND (:programme_id::text IS NULL OR v.programme_id = :programme_id)
   AND (:variant::text IS NULL OR v.variant = :variant)
   AND CASE WHEN :release_id::text IS NULL THEN true WHEN :release_id = 'none' THEN v.release_id IS NULL
            ELSE v.release_id = :release_id END
   AND (:fleet::text IS NULL OR v.vin IN (SELECT vin FROM account_vehicle WHERE account_name = :fleet))
 ORDER BY a.vin LIMIT :rows_max OFFSET :rows_skip;

-- name: vehicles
SELECT v.vin, v.programme_id, v.variant, v.region, v.tags, v.gateway, v.release_id, v.blocked_reason, v.born_at,
       r.version AS release_version, r.name AS release_name,
       is_shut_out(v.vin, v.certificates, v.certificates_after) AS shut_out,
       a.action_id, a.campaign_id,
       said.last_report_at, greatest(said.last_report_at, (SELECT heard_at FROM vehicle_contact h WHERE h.vin = v.vin)) AS heard_at,
       shown_state(a.state, a.claimed_at IS NOT NULL) AS update_state,
       (SELECT count(*) FROM ecu e WHERE e.vin = v.vin AND e.removed_at IS NULL) AS ecus
  FROM vehicle v
  LEFT JOIN release r ON r.id = v.release_id
  LEFT JOIN LATERAL (  -- what it works on; else its newest
       SELECT * FROM assignment x WHERE x.vin = v.vin
        ORDER BY x.state IN ('offered', 'active', 'cancelling') DESC, coalesce(x.finished_at, x.offered_at, greatest(x.released_at, x.last_report_at), (SELECT approved_at FROM campaign JOIN campaign_plan ON campaign_plan.id = plan_id WHERE campaign.id = x.campaign_id)) DESC, x.action_id DESC LIMIT 1) a ON true
 CROSS JOIN LATERAL (
       SELECT greatest(a.last_report_at, (SELECT max(received_at) FROM device_report d WHERE d.vin = v.vin),
                       (SELECT max(received_at) FROM vehicle_manifest m WHERE m.vin = v.vin)) AS last_report_at) AS said
 WHERE v.vin = ANY (:vins) ORDER BY v.vin;

-- name: fleet_versions
SELECT coalesce(r.version, 'not reported') AS version, nullif(t.release_id, '') AS release_id, t.variant,
       sum(t.vehicles)::bigint AS vehicles
  FROM fleet_tally t LEFT JOIN release r ON r.id = t.release_id
 GROUP BY 1, 2, 3, r.created_at HAVING sum(t.vehicles) > 0 ORDER BY r.created_at NULLS FIRST, 3 LIMIT 200;

-- name: fleet_versions_of_fleet
SELECT coalesce(r.version, 'not reported') AS version, v.release_id, v.variant, count(*) AS vehicles
  FROM account_vehicle own JOIN vehicle v ON v.vin = own.vin LEFT JOIN release r ON r.id = v.release_id
 WHERE own.account_name = :fleet
 GROUP BY 1, 2, 3, r.created_at ORDER BY r.created_at NULLS FIRST, 3 LIMIT 200;

-- name: variants
SELECT variant FROM fleet_tally GROUP BY 1 HAVING sum(vehicles) > 0 ORDER BY 1 LIMIT 200;

-- name: vehicle_attributes^
SELECT attributes, primary_serial, generation FROM vehicle WHERE vin = :vin;

-- name: ddi_variants
SELECT p.id AS programme_id, v.key AS variant
  FROM programme p CROSS JOIN LATERAL jsonb_object_keys(p.document -> 'variants') AS v (key)
 WHERE EXISTS (SELECT FROM jsonb_each(p.document -> 'ecus') AS e (name, ecu) WHERE e.ecu ->> 'agent' = 'ddi')
 ORDER BY p.id, v.key LIMIT 500;

-- name: vehicle_credentials^
SELECT cardinality(certificates) AS certificates, certificate_until,
       CASE WHEN enrolment_sha256 IS NOT NULL THEN enrolment_until END AS invited_until
  FROM vehicle WHERE vin = :vin;

-- name: vehicle_ecus
SELECT e.serial, e.name, e.hardware_id, e.is_primary, e.added_at, e.removed_at,
       i.version, i.filename, i.image_sha256, i.reported_at,
       p.document -> 'ecus' -> e.name ->> 'bus' AS bus, p.document -> 'ecus' -> e.name ->> 'os' AS os,
       p.document -> 'ecus' -> e.name ->> 'supplier' AS supplier,
       p.document -> 'ecus' -> e.name ->> 'storage' AS storage
  FROM ecu e JOIN vehicle v ON v.vin = e.vin JOIN programme p ON p.id = v.programme_id
  LEFT JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
 WHERE e.vin = :vin AND e.removed_at IS NULL
 ORDER BY e.is_primary DESC, e.name LIMIT 500;

-- name: assignments_of_campaign
-- Within each wave and state they are read by VIN from an index; which of those there are, the tally says. Of a vehicle
-- that was ordered back both are there, its return first.
WITH held AS (
    SELECT DISTINCT wave, state, claimed FROM campaign_tally
     WHERE campaign_id = :campaign_id AND minute = '-infinity' AND (:wave::integer IS NULL OR wave = :wave)
       AND (:state::text IS NULL OR :state = shown_state(state, claimed))
), page AS MATERIALIZED (
    SELECT found.vin, found.action_id
      FROM held CROSS JOIN LATERAL (
           SELECT a.vin, a.action_id FROM assignment a
            WHERE a.campaign_id = :campaign_id AND a.wave = held.wave AND a.state = held.state
              AND (a.claimed_at IS NOT NULL) = held.claimed
            ORDER BY a.vin, a.action_id DESC LIMIT :rows_max::bigint + :rows_skip::bigint) AS found
     ORDER BY found.vin, found.action_id DESC LIMIT :rows_max OFFSET :rows_skip
)
SELECT shown.*, coalesce((p.document -> 'request' ->> 'recall')::boolean, false) AS recall,
       coalesce(shown.state = 'offered' AND shown.kind = 'update' AND p.document -> 'request' ->> 'urgency' = 'download_only'
           AND EXISTS (SELECT FROM vehicle v WHERE v.vin = shown.vin AND v.gateway = 'ddi'
                          AND v.attributes ->> 'honours_skip' IS DISTINCT FROM 'true'), false) AS withheld,
       coalesce(other.name, '') AS behind, coalesce(other.state, '') AS behind_state,
       CASE WHEN NOT shown.released THEN (p.document #>>
            ARRAY['request', 'waves', (shown.wave - 1)::text, 'not_before'])::timestamptz END AS wave_opens_at,
       CASE WHEN shown.state IN ('cancelling', 'cancelled') AND c.state IN ('halted', 'aborted')
                 AND coalesce(c.state_at <= shown.finished_at, true)
            THEN 'its campaign was ' || c.state || coalesce(' by ' || (
                     SELECT f.actor FROM fact f WHERE f.subject = c.id AND f.kind = 'campaign.aborted' LIMIT 1), '')
                 || ': ' || CASE c.state WHEN 'halted' THEN replace(c.state_reason, '_', ' ') ELSE c.state_reason END
            ELSE '' END AS withdrawn
  FROM page JOIN assignment_shown shown ON shown.action_id = page.action_id
  JOIN campaign c ON c.id = shown.campaign_id LEFT JOIN campaign_plan p ON p.id = c.plan_id
  LEFT JOIN LATERAL (  -- what has something under way at a vehicle that waits
       SELECT x.name, x.state FROM assignment o JOIN campaign x ON x.id = o.campaign_id
        WHERE shown.state = 'pending' AND shown.released AND o.vin = shown.vin AND o.campaign_id <> shown.campaign_id
          AND o.state IN ('offered', 'active', 'cancelling')) AS other ON true
 ORDER BY shown.vin, shown.action_id DESC;

-- name: assignments_of_few
-- Of one vehicle, or of a fleet's vehicles in one campaign: each is looked up by campaign and VIN.
WITH own AS (
    SELECT vin FROM account_vehicle WHERE account_name = :fleet AND (:vin::text IS NULL OR vin = :vin)
    UNION
    SELECT :vin::text WHERE :fleet::text IS NULL
), page AS MATERIALIZED (
    SELECT a.action_id FROM own CROSS JOIN campaign x JOIN assignment a ON a.campaign_id = x.id AND a.vin = own.vin
     WHERE (:campaign_id::text IS NULL OR x.id = :campaign_id) AND (:wave::integer IS NULL OR a.wave = :wave)
       AND (:state::text IS NULL
            OR :state = shown_state(a.state, a.claimed_at IS NOT NULL))
     ORDER BY CASE WHEN :campaign_id::text IS NOT NULL THEN a.vin END,  -- what is under way, then what moved last
              a.state IN ('offered', 'active', 'cancelling') DESC, coalesce(a.finished_at, a.offered_at, greatest(a.released_at, a.last_report_at), (SELECT approved_at FROM campaign JOIN campaign_plan ON campaign_plan.id = plan_id WHERE campaign.id = a.campaign_id)) DESC, a.action_id DESC
     LIMIT :rows_max OFFSET :rows_skip
)
SELECT shown.*, coalesce((p.document -> 'request' ->> 'recall')::boolean, false) AS recall,
       coalesce(shown.state = 'offered' AND shown.kind = 'update' AND p.document -> 'request' ->> 'urgency' = 'download_only'
           AND EXISTS (SELECT FROM vehicle v WHERE v.vin = shown.vin AND v.gateway = 'ddi'
                          AND v.attributes ->> 'honours_skip' IS DISTINCT FROM 'true'), false) AS withheld,
       coalesce(other.name, '') AS behind, coalesce(other.state, '') AS behind_state,
       CASE WHEN NOT shown.released THEN (p.document #>>
            ARRAY['request', 'waves', (shown.wave - 1)::text, 'not_before'])::timestamptz END AS wave_opens_at,
       coalesce(CASE WHEN shown.state IN ('cancelling', 'cancelled') AND c.state IN ('halted', 'aborted')
                 AND coalesce(c.state_at <= shown.finished_at, true)
            THEN CASE WHEN c.state = 'halted' THEN 'its campaign was halted: ' || replace(c.state_reason, '_', ' ')
                      ELSE (SELECT CASE WHEN :fleet::text IS NULL
                                        THEN 'its campaign was aborted by ' || f.actor || ': ' || c.state_reason
                                        ELSE 'a person at the maker ended its campaign' || coalesce(': ' || (f.body ->> 'told'), '') END
                              FROM fact f WHERE f.subject = c.id AND f.kind = 'campaign.aborted' LIMIT 1) END
            END, '') AS withdrawn
  FROM page JOIN assignment a ON a.action_id = page.action_id
  JOIN assignment_shown shown ON shown.action_id = page.action_id
  JOIN campaign c ON c.id = shown.campaign_id LEFT JOIN campaign_plan p ON p.id = c.plan_id
  LEFT JOIN LATERAL (  -- what has something under way at a vehicle that waits
       SELECT x.name, x.state FROM assignment o JOIN campaign x ON x.id = o.campaign_id
        WHERE shown.state = 'pending' AND shown.released AND o.vin = shown.vin AND o.campaign_id <> shown.campaign_id
          AND o.state IN ('offered', 'active', 'cancelling')) AS other ON true
 ORDER BY CASE WHEN :campaign_id::text IS NOT NULL THEN shown.vin END,
          a.state IN ('offered', 'active', 'cancelling') DESC, coalesce(a.finished_at, a.offered_at, greatest(a.released_at, a.last_report_at), (SELECT approved_at FROM campaign JOIN campaign_plan ON campaign_plan.id = plan_id WHERE campaign.id = a.campaign_id)) DESC, a.action_id DESC;

-- name: vehicle_reports
SELECT id, action_id, kind, event_at, received_at, body, applied_at
  FROM device_report WHERE vin = :vin ORDER BY id DESC LIMIT :rows_max;

-- name: campaigns
SELECT c.id, c.name, c.release_id, c.lap_id, c.state, c.state_reason, c.wave, c.plan_id, c.generation,
       c.created_by, c.created_at, c.finished_at, r.version AS release_version, r.name AS release_name,
       counted.vehicles, counted.installed, counted.downloaded, counted.claimed, counted.failed, counted.expired - began.lost AS silent, counted.cancelled,
       back.returns_ordered, back.returned, back.returns_failed, back.gone_back,
       CASE WHEN c.state IN ('running', 'paused') THEN (  -- as `gate.harm_held` goes on from decision to decision
            SELECT CASE WHEN starts_with(g.reason, 'harm_seen') THEN g.reason END FROM gate_decision g
             WHERE g.campaign_id = c.id AND (starts_with(g.reason, 'harm_seen') OR g.decision IN ('advance', 'grow', 'finish')
                   OR split_part(g.reason, ': ', 1) IN ('budget_in_flight', 'outcomes_awaited', 'watching', 'before_its_time')
                   OR g.reason = 'soaking' AND (g.facts -> 'rest' -> 'last_wave')::boolean
                      AND (g.facts -> 'rest' -> 'harm_ends')::boolean)
             ORDER BY g.id DESC LIMIT 1) END AS harm_holds,
       CASE WHEN c.state IN ('running', 'paused') THEN telemetry_silent_since(c.plan_id) END AS telemetry_silent_since
  FROM campaign c JOIN release r ON r.id = c.release_id
  CROSS JOIN LATERAL (
       SELECT coalesce(sum(t.vehicles), 0)::bigint AS vehicles,
              coalesce(sum(t.vehicles) FILTER (WHERE t.state = 'installed'), 0)::bigint AS installed,
              coalesce(sum(t.vehicles) FILTER (WHERE t.state = 'downloaded'), 0)::bigint AS downloaded,
              coalesce(sum(t.vehicles) FILTER (WHERE shown_state(t.state, t.claimed) = 'claimed'), 0)::bigint AS claimed,
              coalesce(sum(t.vehicles) FILTER (WHERE t.state IN ('failed', 'rolled_back', 'expired')), 0)::bigint AS failed,
              coalesce(sum(t.vehicles) FILTER (WHERE t.state = 'expired'), 0)::bigint AS expired,
              coalesce(sum(t.vehicles) FILTER (WHERE t.state = 'cancelled'), 0)::bigint AS cancelled
         FROM campaign_tally t WHERE t.campaign_id = c.id AND t.minute = '-infinity' AND t.kind = 'update') AS counted
  CROSS JOIN LATERAL (  -- who began to install and never came back failed: a gate counts it as harm
       SELECT count(*) AS lost FROM assignment a
        WHERE counted.expired > 0 AND a.campaign_id = c.id AND a.state = 'expired' AND a.kind = 'update'
          AND a.began_at IS NOT NULL) AS began
  CROSS JOIN LATERAL (
       SELECT coalesce(sum(t.vehicles) FILTER (WHERE t.kind = 'rollback'), 0)::bigint AS returns_ordered,
              coalesce(sum(t.vehicles) FILTER (WHERE t.kind = 'rollback' AND t.state = 'installed'), 0)::bigint AS returned,
              coalesce(sum(t.vehicles) FILTER (WHERE t.kind = 'rollback'
                       AND t.state IN ('failed', 'rolled_back', 'expired', 'cancelled')), 0)::bigint AS returns_failed,
              coalesce(sum(t.vehicles) FILTER (WHERE t.kind = 'returned'), 0)::bigint AS gone_back
         FROM campaign_tally t WHERE t.campaign_id = c.id AND t.minute = '-infinity' AND t.kind IN ('rollback', 'returned')) AS back
 WHERE (:campaign_id::text IS NULL OR c.id = :campaign_id)
   AND (:state::text IS NULL OR c.state = :state)
   AND (:change_id::text IS NULL OR r.change_id = :change_id)
 ORDER BY c.created_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: campaigns_of_fleet
SELECT c.id, c.name, c.release_id, c.lap_id, c.state, c.state_reason, c.wave, c.plan_id, c.generation,
       c.created_by, c.created_at, c.finished_at, r.version AS release_version, r.name AS release_name,
       counted.vehicles, counted.installed, counted.downloaded, counted.claimed, counted.failed, counted.silent, counted.cancelled,
       back.returns_ordered, back.returned, back.returns_failed, back.gone_back,
       CASE WHEN c.state IN ('running', 'paused') THEN telemetry_silent_since(c.plan_id) END AS telemetry_silent_since
  FROM campaign c JOIN release r ON r.id = c.release_id
  CROSS JOIN LATERAL (
       SELECT count(*) AS vehicles, count(*) FILTER (WHERE a.state = 'installed') AS installed,
              count(*) FILTER (WHERE a.state = 'downloaded') AS downloaded,
              count(*) FILTER (WHERE shown_state(a.state, a.claimed_at IS NOT NULL) = 'claimed') AS claimed,
              count(*) FILTER (WHERE a.state IN ('failed', 'rolled_back', 'expired')) AS failed,
              count(*) FILTER (WHERE a.state = 'expired' AND a.began_at IS NULL) AS silent,
              count(*) FILTER (WHERE a.state = 'cancelled') AS cancelled
         FROM account_vehicle own JOIN assignment a ON a.campaign_id = c.id AND a.vin = own.vin AND a.kind = 'update'
        WHERE own.account_name = :fleet) AS counted
  CROSS JOIN LATERAL (
       SELECT count(*) AS returns_ordered, count(*) FILTER (WHERE a.state = 'installed') AS returned,
              count(*) FILTER (WHERE a.state IN ('failed', 'rolled_back', 'expired', 'cancelled')) AS returns_failed,
              count(*) FILTER (WHERE a.state = 'installed' AND EXISTS (
                   SELECT FROM assignment u WHERE u.campaign_id = c.id AND u.vin = a.vin AND u.kind = 'update'
                                              AND u.state = 'installed')) AS gone_back
         FROM account_vehicle own JOIN assignment a ON a.campaign_id = c.id AND a.vin = own.vin AND a.kind = 'rollback'
        WHERE own.account_name = :fleet) AS back
 WHERE counted.vehicles > 0
   AND (:campaign_id::text IS NULL OR c.id = :campaign_id)
   AND (:state::text IS NULL OR c.state = :state)
   AND (:change_id::text IS NULL OR r.change_id = :change_id)
 ORDER BY c.created_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: campaign_progress
-- Who installed it and went back is tallied apart.
SELECT t.wave, s.state, sum(t.vehicles)::bigint AS vehicles, max(t.newest_report_at) AS newest_report_at,
       CASE WHEN s.state = 'installed' THEN (
            SELECT coalesce(sum(b.vehicles), 0) FROM campaign_tally b
             WHERE b.campaign_id = :campaign_id AND b.kind = 'returned' AND b.minute = '-infinity'
               AND b.wave = t.wave) ELSE 0 END::bigint AS returned,
       CASE WHEN s.state = 'expired' THEN (
            SELECT count(*) FROM assignment b
             WHERE b.campaign_id = :campaign_id AND b.wave = t.wave AND b.state = 'expired' AND b.kind = 'update'
               AND b.began_at IS NOT NULL) ELSE 0 END::bigint AS lost,
       CASE WHEN s.state = 'pending' THEN (
            SELECT coalesce(sum(b.vehicles), 0) FROM campaign_tally b
             WHERE b.campaign_id = :campaign_id AND b.kind = 'step' AND b.minute = '-infinity' AND b.wave = t.wave
               AND b.state IN ('offered', 'active', 'cancelling')) ELSE 0 END::bigint AS on_the_way
  FROM campaign_tally t
 CROSS JOIN LATERAL (SELECT shown_state(t.state, t.claimed) AS state) AS s
 WHERE t.campaign_id = :campaign_id AND t.kind = 'update' AND t.minute = '-infinity'
 GROUP BY t.wave, s.state HAVING sum(t.vehicles) > 0 ORDER BY t.wave, s.state;

-- name: campaign_progress_of_fleet
SELECT a.wave, s.state, count(*) AS vehicles, max(a.last_report_at) AS newest_report_at,
       count(*) FILTER (WHERE s.state = 'installed' AND EXISTS (
            SELECT FROM assignment b
             WHERE b.campaign_id = a.campaign_id AND b.vin = a.vin AND b.kind = 'rollback' AND b.state = 'installed')) AS returned,
       count(*) FILTER (WHERE s.state = 'expired' AND a.began_at IS NOT NULL) AS lost,
       count(*) FILTER (WHERE s.state = 'pending' AND EXISTS (
            SELECT FROM assignment b
             WHERE b.campaign_id = a.campaign_id AND b.vin = a.vin AND b.kind = 'step'
               AND b.state IN ('offered', 'active', 'cancelling'))) AS on_the_way
  FROM account_vehicle own JOIN assignment a ON a.campaign_id = :campaign_id AND a.vin = own.vin AND a.kind = 'update'
 CROSS JOIN LATERAL (SELECT shown_state(a.state, a.claimed_at IS NOT NULL) AS state) AS s
 WHERE own.account_name = :fleet GROUP BY a.wave, s.state ORDER BY a.wave, s.state;

-- name: campaign_exposure
WITH happened AS MATERIALIZED (
    SELECT offered_at AS at, 1 AS offered, 0 AS installed, 0 AS failed FROM assignment
     WHERE campaign_id = :campaign_id AND kind = 'update' AND offered_at IS NOT NULL
    UNION ALL
    SELECT finished_at, 0, (state IN ('installed', 'downloaded'))::int, (state IN ('failed', 'rolled_back', 'expired'))::int
      FROM assignment
     WHERE campaign_id = :campaign_id AND kind = 'update' AND finished_at IS NOT NULL
), told AS MATERIALIZED (
    SELECT min(at) AS since, greatest(max(at) - min(at), interval '1 ms') / :stretches::int AS step FROM happened
)
SELECT told.since + told.step * part.number AS at, sum(offered)::int AS offered, sum(installed)::int AS installed,
       sum(failed)::int AS failed
  FROM happened CROSS JOIN told
 CROSS JOIN LATERAL (SELECT least(:stretches::int - 1, floor(extract(epoch FROM happened.at - told.since)
                                                   / extract(epoch FROM told.step)))::int + 1 AS number) AS part
 GROUP BY told.since, told.step, part.number ORDER BY part.number;

-- name: campaign_exposure_by_minute
-- The same of a campaign of many vehicles, to the minute.
WITH happened AS MATERIALIZED (
    SELECT minute AS at, sum(vehicles) FILTER (WHERE state = 'offered') AS offered,
           sum(vehicles) FILTER (WHERE state = 'installed') AS installed, sum(vehicles) FILTER (WHERE state = 'failed') AS failed
      FROM campaign_tally WHERE campaign_id = :campaign_id AND kind = 'update' AND minute > '-infinity'
     GROUP BY minute HAVING sum(vehicles) <> 0
), told AS MATERIALIZED (
    SELECT min(at) AS since, greatest(max(at) - min(at), interval '1 ms') / :stretches::int AS step FROM happened
)
SELECT told.since + told.step * part.number AS at, coalesce(sum(offered), 0)::int AS offered,
       coalesce(sum(installed), 0)::int AS installed, coalesce(sum(failed), 0)::int AS failed
  FROM happened CROSS JOIN told
 CROSS JOIN LATERAL (SELECT least(:stretches::int - 1, floor(extract(epoch FROM happened.at - told.since)
                                                   / extract(epoch FROM told.step)))::int + 1 AS number) AS part
 GROUP BY told.since, told.step, part.number ORDER BY part.number;

-- name: campaign_vehicles$
SELECT coalesce(sum(vehicles), 0)::bigint FROM campaign_tally
 WHERE campaign_id = :campaign_id AND kind = 'update' AND minute = '-infinity';

-- name: campaign_plans
SELECT id, generation, parent_id, document, findings, made_by, made_at, approved_by, approved_at
  FROM campaign_plan WHERE campaign_id = :campaign_id ORDER BY generation DESC LIMIT :rows_max;

-- name: campaign_resolutions
-- Vehicles that differ only in what makes no difference are told of together; who is held back, and who joined late, apart.
WITH chosen AS (
    SELECT c.release_id, coalesce(c.plan_id, (SELECT p.id FROM campaign_plan p WHERE p.campaign_id = c.id
                                               ORDER BY p.generation DESC LIMIT 1)) AS plan_id
      FROM campaign c WHERE c.id = :campaign_id),
apart AS MATERIALIZED (
    SELECT t.resolution, t.verdict, t.reason = 'joined' AS joined, count(*) AS vehicles, min(t.vin) AS example
      FROM campaign_target t JOIN chosen ON chosen.plan_id = t.plan_id
     WHERE t.verdict = 'control' OR t.reason = 'joined' GROUP BY t.resolution, t.verdict, joined),
kinds AS (
    SELECT r.number, r.verdict, r.reason, r.sentence, r.vehicles - coalesce(held.vehicles, 0) AS vehicles,
           CASE WHEN held.example = r.example  -- the first of them is held back: another of the next ones
                THEN (SELECT min(near.vin)
                        FROM (SELECT t.vin, t.resolution, t.verdict FROM campaign_target t
                               WHERE t.plan_id = r.plan_id AND t.vin > r.example ORDER BY t.vin LIMIT :looked_at_max) AS near
                       WHERE near.resolution = r.number AND near.verdict = r.verdict)
                ELSE r.example END AS example, r.install_bytes, r.install_s, r.steps
      FROM campaign_resolution r JOIN chosen ON chosen.plan_id = r.plan_id
      LEFT JOIN apart held ON NOT held.joined AND held.resolution = r.number
    UNION ALL
    SELECT r.number, held.verdict, r.reason, r.sentence, held.vehicles, held.example, r.install_bytes, r.install_s, r.steps
      FROM apart held JOIN chosen ON true
      JOIN campaign_resolution r ON r.plan_id = chosen.plan_id AND r.number = held.resolution
     WHERE NOT held.joined
    UNION ALL
    SELECT 0, joined.verdict, 'joined', 'They joined late: the query selects them since the campaign began.',
           joined.vehicles, joined.example, 0, 0, ARRAY[chosen.release_id]
      FROM apart joined JOIN chosen ON true WHERE joined.joined)
SELECT min(k.number) AS number, k.verdict, k.reason, k.sentence, sum(k.vehicles)::bigint AS vehicles,
       coalesce(min(k.example), '') AS example, k.install_bytes, k.install_s,
       ARRAY(SELECT x.version FROM unnest(k.steps) WITH ORDINALITY AS step (id, at) JOIN release x ON x.id = step.id
              ORDER BY step.at) AS steps
  FROM kinds k WHERE k.vehicles > 0
 GROUP BY k.verdict, k.reason, k.sentence, k.install_bytes, k.install_s, k.steps
 ORDER BY vehicles DESC, number, k.verdict LIMIT :rows_max OFFSET :rows_skip;

-- name: vehicle_resolutions
SELECT c.id AS campaign_id, c.name AS campaign_name, c.state AS campaign_state, wanted.id AS release_id,
       wanted.version AS release_version, coalesce(a.state, '') AS state, coalesce(a.state_detail, '') AS state_detail,
       t.verdict, t.reason, coalesce(r.sentence, '') AS sentence, t.wave, p.made_at AS planned_at, t.joined_at, t.let_go_at, t.let_go_reason,
       coalesce(r.install_bytes, 0) AS install_bytes, coalesce(r.install_s, 0) AS install_s,
       ARRAY(SELECT x.version FROM unnest(CASE WHEN t.reason = 'joined' THEN ARRAY[wanted.id] ELSE r.steps END)
                                   WITH ORDINALITY AS step (id, at) JOIN release x ON x.id = step.id
              ORDER BY step.at) AS steps
  FROM campaign c JOIN release wanted ON wanted.id = c.release_id
  JOIN campaign_target t ON t.plan_id = c.plan_id AND t.vin = :vin
  JOIN campaign_plan p ON p.id = t.plan_id
  LEFT JOIN campaign_resolution r ON r.plan_id = t.plan_id AND r.number = t.resolution
  LEFT JOIN assignment a ON a.campaign_id = c.id AND a.vin = t.vin AND a.kind = 'update'
 WHERE (:campaign_id::text IS NULL OR c.id = :campaign_id)
 ORDER BY c.created_at DESC, c.id DESC LIMIT :rows_max;

-- name: gate_decisions
SELECT id, campaign_id, wave, decision, reason, facts, policy, decided_at
  FROM gate_decision WHERE campaign_id = :campaign_id ORDER BY id DESC LIMIT :rows_max;

-- name: gate_readings
SELECT id, campaign_id, through_us, readings, refused, read_at
  FROM gate_reading WHERE campaign_id = :campaign_id ORDER BY id DESC LIMIT :rows_max;

-- name: listed_names
SELECT ecu, source, imported_by, imported_at,
       (SELECT count(*) FROM jsonb_object_keys(n.data)) AS data,
       (SELECT count(*) FROM jsonb_object_keys(n.faults)) AS faults
  FROM ecu_names n WHERE programme_id = :programme_id ORDER BY ecu;

-- name: findings
SELECT f.id, f.lap_id, f.title, f.programme_id, f.ecu, f.software_version, f.fault_code, f.state,
       (SELECT n.faults ->> f.fault_code FROM ecu_names n
         WHERE n.programme_id = f.programme_id AND n.ecu IN (f.ecu, '*') AND n.faults ? f.fault_code
         ORDER BY n.ecu = '*' LIMIT 1) AS fault_name,
       f.state_reason, f.evidence, f.generation, f.opened_at, c.id AS change_id, c.state AS change_state, o.verdict
  FROM finding f
  LEFT JOIN LATERAL (SELECT id, state FROM change x WHERE x.finding_id = f.id
                      ORDER BY proposed_at DESC LIMIT 1) c ON true
  LEFT JOIN LATERAL (SELECT verdict FROM outcome x
                      WHERE x.finding_id = f.id AND (x.measure ->> 'measure') IS DISTINCT FROM 'recovery'
                      ORDER BY measured_at DESC LIMIT 1) o ON true
 WHERE (:finding_id::text IS NULL OR f.id = :finding_id) AND (:state::text IS NULL OR f.state = :state)
 ORDER BY f.opened_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: changes
SELECT c.id, c.finding_id, c.lap_id, c.title, c.ecu, c.target, c.state, c.generation, c.proposed_by,
       c.approved_by, c.proposed_at, c.approved_at, f.title AS finding_title,
       (SELECT array_agg(r.id ORDER BY r.created_at) FROM release r WHERE r.change_id = c.id) AS release_ids
  FROM change c JOIN finding f ON f.id = c.finding_id
 WHERE (:change_id::text IS NULL OR c.id = :change_id) AND (:state::text IS NULL OR c.state = :state)
   AND (:finding_id::text IS NULL OR c.finding_id = :finding_id)
 ORDER BY c.proposed_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: programmes
SELECT p.id, p.digest, p.document, p.generation, p.imported_at, p.plant_id, d.document AS plant
  FROM programme p
  LEFT JOIN LATERAL (SELECT document FROM plant WHERE id = p.plant_id ORDER BY generation DESC LIMIT 1) d ON true
 WHERE (:programme_id::text IS NULL OR p.id = :programme_id)
 ORDER BY p.id LIMIT :rows_max OFFSET :rows_skip;

-- name: packages
SELECT id, programme_id, ecu, name, version, filename, format, hardware_ids, image_sha256, image_bytes,
       release_counter, facts, requires, conflicts, upgrades_from, added_at
  FROM software_package
 WHERE (:programme_id::text IS NULL OR programme_id = :programme_id) AND (:ecu::text IS NULL OR ecu = :ecu)
   AND (:package_id::text IS NULL OR id = :package_id)
 ORDER BY added_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: releases
SELECT r.id, r.programme_id, r.name, r.version, r.state, r.change_id, r.lap_id, r.document, r.findings,
       r.generation, r.created_by, r.created_at, r.signed_at, coalesce(r.downgrades, '[]') AS downgrades,
       (SELECT coalesce(sum(t.vehicles), 0)::bigint FROM fleet_tally t WHERE t.release_id = r.id) AS vehicles,
       EXISTS (SELECT FROM line_baseline b WHERE b.release_id = r.id) AS on_line,
       coalesce((SELECT jsonb_agg(jsonb_build_object('campaign_id', c.id, 'campaign_name', c.name, 'reason', harm.reason,
                                                     'halted_at', c.state_at, 'aborted', c.state = 'aborted')
                                  ORDER BY c.state_at DESC, c.id)
                   FROM campaign c
                  CROSS JOIN LATERAL (SELECT CASE c.state WHEN 'halted' THEN c.state_reason ELSE
                      (SELECT f.body ->> 'harm' FROM fact f WHERE f.subject = c.id AND f.kind = 'campaign.aborted'
                        ORDER BY f.seq DESC LIMIT 1) END AS reason) AS harm
                  WHERE c.release_id = r.id AND c.state IN ('halted', 'aborted')
                    AND harm.reason <> 'release_withdrawn'), '[]') AS halted
  FROM release r
 WHERE (:release_id::text IS NULL OR r.id = :release_id) AND (:state::text IS NULL OR r.state = :state)
   AND (:change_id::text IS NULL OR r.change_id = :change_id)
   AND (:programme_id::text IS NULL OR r.programme_id = :programme_id)
 ORDER BY r.created_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: orders
SELECT id, programme_id, variant, options, region, rush, due_at, earliest_at, state, vin, received_at FROM plant_order
 WHERE (:programme_id::text IS NULL OR programme_id = :programme_id) AND (:state::text IS NULL OR state = :state)
   AND (:ids::text[] IS NULL OR id = ANY (:ids::text[]))
 ORDER BY received_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: orders_by_state
SELECT state, count(*) AS orders FROM plant_order WHERE programme_id = :programme_id GROUP BY state;

-- name: schedules
SELECT id, programme_id, generation, parent_id, cause, document, replan_latency_us, made_at
  FROM line_schedule WHERE programme_id = :programme_id ORDER BY generation DESC LIMIT :rows_max;

-- name: blocked_options
SELECT programme_id, option, reason, since FROM blocked_option WHERE programme_id = :programme_id ORDER BY option;

-- name: baseline^
SELECT b.release_id, b.generation, b.set_at, r.version, r.name
  FROM line_baseline b JOIN release r ON r.id = b.release_id WHERE b.programme_id = :programme_id;

-- name: outcomes
-- The word for vehicles of a stopped campaign is as `adapt.recovery.standing` has it: some kept its release, and none is worse.
SELECT o.id, o.campaign_id, o.finding_id, o.lap_id,
       CASE WHEN o.verdict = 'recovered' AND (o.measure #>> '{vehicles,kept}')::bigint > 0 THEN 'kept' ELSE o.verdict END AS verdict,
       o.measure, o.measured_at,
       f.title AS finding_title, c.name AS campaign_name
  FROM outcome o JOIN finding f ON f.id = o.finding_id JOIN campaign c ON c.id = o.campaign_id
 WHERE (:lap_id::text IS NULL OR o.lap_id = :lap_id) AND (:finding_id::text IS NULL OR o.finding_id = :finding_id)
   AND (:campaign_id::text IS NULL OR o.campaign_id = :campaign_id)
 ORDER BY o.measured_at DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: complaints
SELECT id, source, make, model, model_year, component, vin_prefix, occurred_on, received_on, text, imported_at
  FROM complaint WHERE (:component::text IS NULL OR position(upper(:component) IN upper(component)) > 0)
 ORDER BY received_on DESC NULLS LAST, id LIMIT :rows_max OFFSET :rows_skip;

-- name: quarantined
SELECT id, source, locator, reason, raw, received_at FROM quarantine
 WHERE (:source::text IS NULL OR source = :source)
 ORDER BY id DESC LIMIT :rows_max OFFSET :rows_skip;

-- name: approvers$
SELECT count(*) FROM account WHERE role IN ('approver', 'admin') AND disabled_at IS NULL;

-- name: line_checks
SELECT id, programme_id, schedule_id, generation, released, reason, better_permille, replications, vehicles, moved,
       checked_us, worked_us, document, checked_at
  FROM line_check WHERE programme_id = :programme_id ORDER BY checked_at DESC, id DESC LIMIT :rows_max;

-- Gateway tokens ---------------------------------------------------------------------------------
-- name: gateway_tokens
SELECT id, name, created_by, created_at, revoked_at FROM gateway_token ORDER BY created_at DESC, id LIMIT 1000;

-- name: lock_gateway_tokens!
LOCK TABLE gateway_token IN SHARE ROW EXCLUSIVE MODE;

-- name: count_gateway_tokens$
SELECT count(*) FROM gateway_token WHERE revoked_at IS NULL;

-- name: insert_gateway_token!
INSERT INTO gateway_token (id, name, token_sha256, created_by, created_at)
VALUES (:id, :name, :token_sha256, :actor, :now);

-- name: revoke_gateway_token!
UPDATE gateway_token SET revoked_at = :now, revoked_by = :actor WHERE id = :id AND revoked_at IS NULL;

-- name: what_ifs
SELECT id, programme_id, station, down_s, asked_by, asked_at, generation, answer -> 'branch' AS branch,
       CASE WHEN answered_at IS NOT NULL THEN answer END AS answer, answered_at
  FROM line_what_if
 WHERE programme_id = :programme_id AND (:what_if_id::text IS NULL OR id = :what_if_id)
 ORDER BY asked_at DESC, id DESC LIMIT :rows_max;

-- name: line_stops
SELECT id, programme_id, station, kind, reason, options, event_id, began_at, expected_s, stopped_by, ended_at, ended_by
  FROM line_stop
 WHERE programme_id = :programme_id AND (:stop_id::text IS NULL OR id = :stop_id) AND (NOT :only_open OR ended_at IS NULL)
 ORDER BY began_at DESC, id DESC LIMIT :rows_max;

-- name: installed_since
SELECT r.id AS release_id, r.version, r.document, a.finished_at
  FROM assignment a JOIN campaign c ON c.id = a.campaign_id
  JOIN release r ON r.id = coalesce(a.release_id, c.release_id)
 WHERE a.vin = :vin AND a.state = 'installed' AND a.finished_at IS NOT NULL
 ORDER BY a.finished_at DESC LIMIT :rows_max;
