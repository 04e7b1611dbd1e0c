-- Made by RINGROAD_WRITE_BEFORE=1 pytest tests/migration; do not edit.
-- file: src/ringroad/adapt/queries.sql
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

-- file: src/ringroad/build/clone/queries.sql
-- name: insert_proposal!
INSERT INTO plant_proposal (id, parent_id, clone_id, what, sha256, state, document, proposed_by, proposed_at)
VALUES (:proposal_id, :parent_id, :clone_id, :what, :sha256, 'open', :document, :actor, :now)
ON CONFLICT (parent_id, clone_id, sha256) WHERE state IN ('open', 'proved', 'trial') DO NOTHING;

-- name: proposals
SELECT p.*, coalesce((SELECT max(generation) FROM plant WHERE id = p.parent_id), 0) AS parent_generation
  FROM plant_proposal p
 WHERE (:proposal_id::text IS NULL OR id = :proposal_id)
   AND (:plant_id::text IS NULL OR parent_id = :plant_id OR clone_id = :plant_id)
   AND (:state::text IS NULL OR state = :state)
 ORDER BY proposed_at DESC, id DESC LIMIT :rows_max;

-- name: unproved
SELECT * FROM (
    SELECT p.*, coalesce((SELECT max(generation) FROM plant WHERE id = p.parent_id), 0) AS parent_generation
      FROM plant_proposal p WHERE state IN ('open', 'proved')
) going
 WHERE state = 'open' OR coalesce((proof->>'plant_generation')::integer, -1) <> parent_generation
 ORDER BY proposed_at, id LIMIT :rows_max;

-- name: save_proof!
UPDATE plant_proposal SET state = :state, proof = :proof, generation = generation + 1
 WHERE id = :proposal_id AND generation = :generation AND state IN ('open', 'proved');

-- name: reject_proposal!
UPDATE plant_proposal SET state = 'rejected', decided_by = :actor, decided_at = :now, generation = generation + 1
 WHERE id = :proposal_id AND generation = :generation AND state IN ('open', 'proved');

-- name: accept_proposal!
UPDATE plant_proposal SET state = 'trial', decided_by = :actor, decided_at = :now, trial = :trial,
       plant_generation = :plant_generation, generation = generation + 1
 WHERE id = :proposal_id AND generation = :generation AND state = 'proved';

-- name: look_at_trial!
UPDATE plant_proposal SET state = :state, trial = :trial, generation = generation + 1,
       ended_at = CASE WHEN :state = 'trial' THEN NULL ELSE :now::timestamptz END
 WHERE id = :proposal_id AND generation = :generation AND state = 'trial';

-- name: departures
SELECT finished_at FROM (
    SELECT finished_at, event_id FROM station_time
     WHERE programme_id = :programme_id AND station = :station
       AND (:after::timestamptz IS NULL OR finished_at > :after)
       AND (:until::timestamptz IS NULL OR finished_at <= :until)
     ORDER BY finished_at DESC, event_id DESC LIMIT :rows_max
) newest ORDER BY finished_at;

-- name: recent_moves
-- Of the line: the newest so many, in the order in which they were taken.
SELECT order_id, station, kind, at FROM (
    SELECT order_id, station, kind, at, position FROM mes_event
     WHERE programme_id = :programme_id
       AND (kind IN ('entered', 'left') OR kind IN ('stopped', 'resumed') AND coalesce(body->'options', '[]') = '[]')
       AND (:since::timestamptz IS NULL OR at > :since)
       AND (:until::timestamptz IS NULL OR at <= :until)
     ORDER BY position DESC LIMIT :rows_max
) newest ORDER BY position;

-- name: recent_breakdowns
-- Of each station: the breakdowns since the oldest of its newest so many measured times. Work without one says something
-- only where the line told of any in that time: of a line that tells none, nobody knows whether it had some.
SELECT s.name AS station, t.worked_ms, b.begun, b.began_at, b.ended_at
  FROM unnest(:stations::text[]) AS s (name)
  CROSS JOIN LATERAL (SELECT sum(worked_ms) AS worked_ms, min(finished_at) AS begins
                        FROM (SELECT worked_ms, finished_at FROM station_time
                               WHERE programme_id = :programme_id AND station = s.name
                                 AND (:since::timestamptz IS NULL OR finished_at > :since)
                                 AND (:until::timestamptz IS NULL OR finished_at <= :until)
                               ORDER BY finished_at DESC LIMIT :rows_max) newest) AS t
  CROSS JOIN LATERAL (SELECT count(*) AS begun,
                             coalesce(array_agg(began_at ORDER BY began_at, id)
                                      FILTER (WHERE ended_at IS NOT NULL), '{}') AS began_at,
                             coalesce(array_agg(ended_at ORDER BY began_at, id)
                                      FILTER (WHERE ended_at IS NOT NULL), '{}') AS ended_at
                        FROM line_stop
                       WHERE programme_id = :programme_id AND station = s.name AND kind = 'breakdown' AND options = '{}'
                         AND began_at >= t.begins AND (:until::timestamptz IS NULL OR began_at <= :until)) AS b
 WHERE b.begun > 0
    OR EXISTS (SELECT FROM line_stop WHERE programme_id = :programme_id AND kind = 'breakdown' AND began_at >= t.begins
                  AND (:until::timestamptz IS NULL OR began_at <= :until));

-- name: taken_over
SELECT document, plant_generation FROM plant_proposal
 WHERE parent_id = :plant_id AND state IN ('trial', 'kept') ORDER BY decided_at, id LIMIT :rows_max;

-- file: src/ringroad/build/deltas/queries.sql
-- name: wanted_deltas
-- What the vehicles that changed last run, against what the newest signed releases bring them.
WITH recent AS (
    SELECT id, programme_id, document FROM release
     WHERE state = 'signed' AND signed_at > :since AND (:release_id::text IS NULL OR id = :release_id)
     ORDER BY signed_at DESC LIMIT :releases_max
), brings AS (
    SELECT r.id AS release_id, r.programme_id, v.key AS variant, e.key AS ecu, p.image_sha256, p.image_bytes,
           p.version, p.release_counter,
           CASE WHEN pr.document #>> ARRAY['ecus', e.key, 'storage'] = 'ab' THEN 'linux' ELSE 'mcu' END AS ecu_class
      FROM recent r
      JOIN programme pr ON pr.id = r.programme_id
     CROSS JOIN LATERAL jsonb_each(r.document -> 'variants') v
     CROSS JOIN LATERAL jsonb_each_text(v.value) e
      JOIN software_package p ON p.id = e.value
), seen AS MATERIALIZED (
    SELECT vin, programme_id, variant FROM vehicle WHERE gateway = 'native'
     ORDER BY changed_seq DESC LIMIT :vehicles_max
), runs AS (
    SELECT s.programme_id, s.variant, ecu.name AS ecu, i.image_sha256, count(*) AS vehicles
      FROM seen s
      JOIN ecu ON ecu.vin = s.vin AND ecu.removed_at IS NULL
      JOIN ecu_installed i ON i.vin = ecu.vin AND i.serial = ecu.serial
     GROUP BY 1, 2, 3, 4
)
SELECT max(b.release_id) AS release_id, b.ecu, b.ecu_class, runs.image_sha256 AS from_sha256,
       max(base.version) AS from_version, max(base.image_bytes) AS from_bytes,
       b.image_sha256 AS to_sha256, max(b.version) AS to_version, max(b.image_bytes) AS to_bytes,
       sum(runs.vehicles)::bigint AS vehicles,
       max(d.state) AS state, max(d.reason) AS reason, max(d.algorithm) AS algorithm,
       max(d.delta_bytes) AS delta_bytes
  FROM brings b
  JOIN runs ON runs.programme_id = b.programme_id AND runs.variant = b.variant AND runs.ecu = b.ecu
           AND runs.image_sha256 <> b.image_sha256
 CROSS JOIN LATERAL (
       SELECT version, image_bytes, release_counter FROM software_package
        WHERE image_sha256 = runs.image_sha256 AND programme_id = b.programme_id AND ecu = b.ecu LIMIT 1) base
  LEFT JOIN image_delta d ON d.to_sha256 = b.image_sha256 AND d.from_sha256 = runs.image_sha256
                         AND d.ecu_class = b.ecu_class
 WHERE base.release_counter <= b.release_counter
 GROUP BY b.ecu, b.ecu_class, runs.image_sha256, b.image_sha256
 ORDER BY sum(runs.vehicles) DESC, b.ecu, runs.image_sha256
 LIMIT :rows_max;

-- name: take_delta_turn$
SELECT pg_try_advisory_lock(hashtext('ringroad.deltas'));

-- name: end_delta_turn$
SELECT pg_advisory_unlock(hashtext('ringroad.deltas'));

-- name: insert_delta!
INSERT INTO image_delta (to_sha256, from_sha256, ecu_class, release_id, state, reason, algorithm, sha256, sha512,
       delta_bytes, image_bytes, made_at)
VALUES (:to_sha256, :from_sha256, :ecu_class, :release_id, :state, :reason, :algorithm, :sha256, :sha512,
       :delta_bytes, :image_bytes, :now)
ON CONFLICT DO NOTHING;

-- file: src/ringroad/build/logistics/queries.sql
-- name: insert_shipment!
INSERT INTO shipment (id, programme_id, name, leg, of_class, part, order_ids, milestones, planned, told, lost, generation,
       announced_at, announced_by)
VALUES (:id, :programme_id, :name, :leg, :of_class, :part, :order_ids, :milestones, :planned, :told, '', 1,
       :announced_at, :actor);

-- name: shipment^
SELECT * FROM shipment WHERE id = :shipment_id;

-- name: shipments_by_name
SELECT * FROM shipment WHERE programme_id = :programme_id AND name = ANY(:names::text[]);

-- name: open_shipments
WITH waiting AS (
SELECT s.*, CASE WHEN s.lost = '' THEN s.order_ids ELSE ARRAY(
         SELECT o.id FROM plant_order o
          WHERE o.id = ANY(s.order_ids) AND o.state IN ('open', 'building') AND NOT EXISTS (
                SELECT FROM shipment n WHERE n.programme_id = s.programme_id AND n.part = s.part AND n.lost = ''
                   AND n.announced_at > s.announced_at AND o.id = ANY(n.order_ids))
          ORDER BY o.id) END AS still_wait
  FROM shipment s WHERE s.programme_id = :programme_id AND s.told[array_length(s.told, 1)] IS NULL
)
SELECT * FROM waiting WHERE lost = '' OR still_wait <> '{}'
 ORDER BY planned[array_length(planned, 1)], id LIMIT :rows_max;

-- name: count_open_shipments$
SELECT count(*) FROM shipment
 WHERE programme_id = :programme_id AND told[array_length(told, 1)] IS NULL AND lost = '';

-- name: arrived_shipments
SELECT * FROM shipment
 WHERE programme_id = :programme_id AND told[array_length(told, 1)] IS NOT NULL
 ORDER BY told[array_length(told, 1)] DESC, id DESC LIMIT :rows_max;

-- name: newest_shipments
SELECT * FROM shipment WHERE programme_id = :programme_id ORDER BY announced_at DESC, id DESC LIMIT :rows_max;

-- name: milestones_by_event
SELECT m.event_id AS id, s.name AS shipment, m.milestone, m.at
  FROM shipment_milestone m JOIN shipment s ON s.id = m.shipment_id
 WHERE m.programme_id = :programme_id AND m.event_id = ANY(:event_ids::text[]);

-- name: insert_milestone!
INSERT INTO shipment_milestone (programme_id, event_id, shipment_id, milestone, at, told_at, told_by)
VALUES (:programme_id, :event_id, :shipment_id, :milestone, :at, :now, :actor);

-- name: move_shipment!
UPDATE shipment SET told[:place] = :at, generation = generation + 1
 WHERE id = :shipment_id AND generation = :generation;

-- name: lose_shipment!
UPDATE shipment SET lost = :reason, generation = generation + 1
 WHERE id = :shipment_id AND generation = :generation AND lost = '' AND told[array_length(told, 1)] IS NULL;

-- name: insert_refused!
INSERT INTO milestone_refused (programme_id, event_id, shipment, milestone, at, reason, told_by, refused_at)
SELECT :programme_id, :event_id, :shipment, :milestone, :at, :reason, :actor, :now
 WHERE NOT EXISTS (SELECT FROM milestone_refused r
                    WHERE r.programme_id = :programme_id AND r.event_id = :event_id AND r.reason = :reason);

-- name: forget_refused!
DELETE FROM milestone_refused WHERE programme_id = :programme_id
   AND number NOT IN (SELECT number FROM milestone_refused WHERE programme_id = :programme_id ORDER BY number DESC LIMIT :kept);

-- name: refused
SELECT event_id, shipment, milestone, at, reason, told_by, refused_at FROM milestone_refused
 WHERE programme_id = :programme_id ORDER BY number DESC LIMIT :rows_max;

-- name: note_told!
INSERT INTO leg_outlook (programme_id, told, seen, document) VALUES (:programme_id, 1, 0, '{}')
ON CONFLICT (programme_id) DO UPDATE SET told = leg_outlook.told + 1;

-- name: outlook^
SELECT * FROM leg_outlook WHERE programme_id = :programme_id;

-- name: outlooks_due
SELECT programme_id, told, seen, made_at FROM leg_outlook
 WHERE seen < told OR made_at IS NULL OR made_at < :older_than ORDER BY programme_id;

-- name: save_outlook!
UPDATE leg_outlook SET seen = :told, document = :document, made_at = :now
 WHERE programme_id = :programme_id AND seen <= :told;

-- name: put_stock!
INSERT INTO stock_part (programme_id, part, places, picks_day, zone, told_at, told_by)
VALUES (:programme_id, :part, :places, :picks_day, :zone, :now, :actor)
ON CONFLICT (programme_id, part) DO UPDATE SET places = EXCLUDED.places, picks_day = EXCLUDED.picks_day,
       zone = EXCLUDED.zone, told_at = EXCLUDED.told_at, told_by = EXCLUDED.told_by;

-- name: drop_stock!
DELETE FROM stock_part WHERE programme_id = :programme_id AND part = ANY(:parts::text[]);

-- name: stock
SELECT * FROM stock_part WHERE programme_id = :programme_id ORDER BY part LIMIT :rows_max;

-- name: count_stock$
SELECT count(*) FROM stock_part WHERE programme_id = :programme_id;

-- name: carried
-- What AGVs brought or bring to orders that are not born: by fleet, part and order, and when it is there.
SELECT s.leg, s.part, s.order_ids, s.planned[array_length(s.planned, 1)] AS due_at,
       s.told[array_length(s.told, 1)] AS told_at
  FROM shipment s WHERE s.programme_id = :programme_id AND s.of_class = 'agv' AND s.lost = ''
   AND EXISTS (SELECT FROM plant_order o WHERE o.id = ANY(s.order_ids) AND o.state IN ('open', 'building'))
 ORDER BY due_at, s.id LIMIT :rows_max;

-- file: src/ringroad/build/plant/queries.sql
-- name: plant^
SELECT * FROM plant WHERE id = :plant_id AND (:generation::integer IS NULL OR generation = :generation)
 ORDER BY generation DESC LIMIT 1;

-- name: newest_plants
SELECT DISTINCT ON (id) * FROM plant ORDER BY id, generation DESC LIMIT :rows_max;

-- name: plant_of_structure^
SELECT document FROM plant WHERE structure_sha256 = :sha256 ORDER BY made_at DESC, id, generation DESC LIMIT 1;

-- name: insert_plant!
INSERT INTO plant (id, generation, structure_sha256, parameters_sha256, document, made_by, made_at)
SELECT :plant_id, :generation + 1, :structure_sha256, :parameters_sha256, :document, :actor, :now
 WHERE :generation = coalesce((SELECT max(generation) FROM plant WHERE id = :plant_id), 0)
ON CONFLICT (id, generation) DO NOTHING;

-- name: programmes_of_plant
SELECT id, document, generation FROM programme WHERE plant_id = :plant_id ORDER BY id;

-- name: escapes_of_gates
-- Vehicles that came back, by the gate that should have caught them, of the lines that this plant builds.
SELECT t.programme_id, t.gate_station AS station, t.gate, count(DISTINCT t.vin) AS vehicles
  FROM field_trace t JOIN programme p ON p.id = t.programme_id
 WHERE p.plant_id = :plant_id AND t.gate <> '' AND t.occurred_at > :since
 GROUP BY t.programme_id, t.gate_station, t.gate;

-- name: choose_plant!
UPDATE programme SET plant_id = :plant_id, generation = generation + 1
 WHERE id = :programme_id AND generation = :generation;

-- name: lock_site_of_plant^
-- Whoever lets a plant be a site, and whoever gives it a line, take turns.
SELECT pg_advisory_xact_lock(hashtextextended('site_of_plant:' || :plant_id, 0));

-- name: lock_lines_of_plant
SELECT id FROM programme WHERE coalesce(plant_id, id) = :plant_id ORDER BY id FOR NO KEY UPDATE;

-- name: contained_at_site
-- Lots that this server contains for lines of a plant that is a site, or becomes one, and so chooses for itself.
SELECT c.programme_id, c.part, c.lot FROM contained_lot c JOIN programme p ON p.id = c.programme_id
 WHERE coalesce(p.plant_id, p.id) = :plant_id AND c.released_at IS NULL
   AND (:becomes::boolean OR EXISTS (SELECT FROM site s WHERE s.id = :plant_id AND s.removed_at IS NULL))
 ORDER BY 1, 2, 3 LIMIT :rows_max;

-- name: newest_state^
SELECT state FROM line_state WHERE programme_id = :programme_id AND position <= :position
 ORDER BY position DESC LIMIT 1;

-- name: insert_state!
INSERT INTO line_state (programme_id, position, state, made_at) VALUES (:programme_id, :position, :state, :now)
ON CONFLICT (programme_id, position) DO NOTHING;

-- name: drop_states_between!
DELETE FROM line_state WHERE programme_id = :programme_id AND position < :position
   AND position / :events = :position / :events;

-- name: events_after
SELECT body, received_at FROM mes_event
 WHERE programme_id = :programme_id AND position > :after AND position <= :position
 ORDER BY position LIMIT :rows_max;

-- name: event^
SELECT body, seq, received_at FROM mes_event WHERE programme_id = :programme_id AND event_id = :event_id;

-- name: insert_event!
INSERT INTO mes_event (programme_id, position, event_id, order_id, station, kind, body, at, seq, received_at)
VALUES (:programme_id, :position, :event_id, :order_id, :station, :kind, :body, :at, :seq, :received_at);

-- name: list_events
SELECT position, body, received_at FROM mes_event
 WHERE programme_id = :programme_id
   AND (:order_id::text IS NULL OR order_id = :order_id)
   AND (:station::text IS NULL OR station = :station)
 ORDER BY position DESC LIMIT :rows_max;

-- name: insert_refused!
INSERT INTO mes_refused (seq, received_at, programme_id, event_id, order_id, station, code, reason, raw)
VALUES (:seq, :received_at, :programme_id, :event_id, :order_id, :station, :code, :reason, :raw)
ON CONFLICT (seq, received_at) DO NOTHING;

-- name: list_refused
SELECT * FROM mes_refused WHERE programme_id = :programme_id ORDER BY received_at DESC, seq DESC LIMIT :rows_max;

-- name: forget_events!
DELETE FROM mes_event WHERE programme_id = :programme_id AND received_at < :oldest
   AND position <= (SELECT max(position) FROM line_state WHERE programme_id = :programme_id)
   AND (NOT EXISTS (SELECT FROM site_place WHERE name = 'joined')
        OR position <= (SELECT number FROM site_place WHERE name = 'sent/' || :programme_id));

-- name: forget_states!
DELETE FROM line_state WHERE programme_id = :programme_id AND made_at < :oldest
   AND position < (SELECT max(position) FROM line_state WHERE programme_id = :programme_id);

-- name: forget_refused!
DELETE FROM mes_refused WHERE received_at < :oldest;

-- name: last_position$
SELECT greatest((SELECT max(position) FROM mes_event WHERE programme_id = :programme_id),
                (SELECT max(position) FROM line_state WHERE programme_id = :programme_id), 0);

-- name: open_stop_of_station^
SELECT id FROM line_stop WHERE programme_id = :programme_id AND station = :station AND ended_at IS NULL AND options = '{}'
 ORDER BY began_at DESC, id DESC LIMIT 1;

-- file: src/ringroad/build/quality/queries.sql
-- name: results_before
-- Of each check on a vehicle the first result and the newest, which is all that a later one can contradict.
SELECT event_id AS id, vehicle, station, check_name AS check, passed, at, variant, software, lots, attempt
  FROM station_result
 WHERE programme_id = :programme_id AND vehicle = ANY(:vehicles::text[]) AND attempt = 1
UNION
SELECT * FROM (
    SELECT DISTINCT ON (vehicle, station, check_name)
           event_id AS id, vehicle, station, check_name AS check, passed, at, variant, software, lots, attempt
      FROM station_result
     WHERE programme_id = :programme_id AND vehicle = ANY(:vehicles::text[])
     ORDER BY vehicle, station, check_name, attempt DESC) AS newest
UNION
SELECT event_id AS id, vehicle, station, check_name AS check, passed, at, variant, software, lots, attempt
  FROM station_result
 WHERE programme_id = :programme_id AND event_id = ANY(:event_ids::text[]);

-- name: orders_of_vehicles
SELECT * FROM plant_order
 WHERE programme_id = :programme_id AND (id = ANY(:vehicles::text[]) OR vin = ANY(:vehicles::text[]));

-- name: baseline_version$
SELECT r.version FROM line_baseline b JOIN release r ON r.id = b.release_id WHERE b.programme_id = :programme_id;

-- name: lots_used
SELECT DISTINCT ON (part) body ->> 'part' AS part, body ->> 'lot' AS lot
  FROM (SELECT body, position, body ->> 'part' AS part FROM mes_event
         WHERE programme_id = :programme_id AND order_id = :order_id AND station = :station AND kind = 'used') AS used
 ORDER BY part, position DESC LIMIT :rows_max;

-- name: insert_result!
INSERT INTO station_result (programme_id, event_id, plant_id, station, gate, check_name, vehicle, order_id, variant,
       software, lots, passed, attempt, at, told_at, told_by)
VALUES (:programme_id, :event_id, :plant_id, :station, :gate, :check, :vehicle, :order_id, :variant,
       :software, :lots, :passed, :attempt, :at, :now, :actor);

-- name: passes_of
SELECT station, vehicle, at FROM station_pass WHERE programme_id = :programme_id AND vehicle = ANY(:vehicles::text[]);

-- name: recent_passes
-- Without vehicles that were looked at for a contained lot: those say nothing of the others.
SELECT s.name AS station, count(*) AS vehicles, count(*) FILTER (WHERE p.at_once) AS at_once
  FROM unnest(:stations::text[]) AS s (name)
  CROSS JOIN LATERAL (SELECT at_once FROM station_pass p
                       WHERE programme_id = :programme_id AND station = s.name
                         AND (:since::timestamptz IS NULL OR at > :since)
                         AND (:until::timestamptz IS NULL OR at <= :until)
                         AND NOT EXISTS (SELECT FROM gate_draw d
                                          WHERE d.programme_id = p.programme_id AND d.order_id = p.vehicle
                                            AND d.station = p.station AND d.inspect AND d.permille = 1000 AND NOT d.every)
                       ORDER BY number DESC LIMIT :rows_max) AS p
 GROUP BY s.name;

-- name: vehicles_passed
SELECT s.name AS station, p.number + 1 AS vehicles, p.period
  FROM unnest(:stations::text[]) AS s (name)
  CROSS JOIN LATERAL (SELECT number, period FROM station_pass WHERE programme_id = :programme_id AND station = s.name
                       ORDER BY number DESC LIMIT 1) AS p;

-- name: insert_pass!
INSERT INTO station_pass (programme_id, station, vehicle, plant_id, variant, software, lots, at_once, number, period, at)
VALUES (:programme_id, :station, :vehicle, :plant_id, :variant, :software, :lots, :at_once, :number, :period, :at);

-- name: update_pass$
-- The period of a vehicle of which a result changes something; none if it changes nothing.
UPDATE station_pass SET at_once = at_once AND :at_once, lots = lots || :lots
 WHERE programme_id = :programme_id AND station = :station AND vehicle = :vehicle
   AND ((at_once AND NOT :at_once) OR NOT lots @> :lots)
RETURNING period;

-- name: note_late*!
INSERT INTO quality_late (programme_id, station, period, first_at, newest_at)
VALUES (:programme_id, :station, :period, :now, :now)
ON CONFLICT (programme_id, station, period) DO UPDATE SET newest_at = excluded.newest_at;

-- name: list_results
SELECT *, check_name AS check FROM station_result
 WHERE programme_id = :programme_id
   AND (:vehicle::text IS NULL OR vehicle = :vehicle
        OR order_id = (SELECT id FROM plant_order WHERE programme_id = :programme_id AND vin = :vehicle))
   AND (:station::text IS NULL OR station = :station)
 ORDER BY told_at DESC, at DESC, event_id DESC LIMIT :rows_max;

-- name: forget_results!
DELETE FROM station_result WHERE programme_id = :programme_id AND told_at < :oldest;

-- name: forget_passes!
-- Of vehicles without results; those that alarms compare stay, and so does the newest, from which the next is numbered.
DELETE FROM station_pass p
 WHERE p.programme_id = :programme_id AND p.at < :oldest
   AND p.period < (SELECT n.period FROM station_pass n WHERE n.programme_id = p.programme_id AND n.station = p.station
                    ORDER BY n.number DESC LIMIT 1) - :reach
   AND NOT EXISTS (SELECT FROM station_result r
                    WHERE r.programme_id = p.programme_id AND r.vehicle = p.vehicle AND r.station = p.station);

-- name: uncounted_days
-- From the first day on which anything was checked.
SELECT d::date AS day
  FROM generate_series(greatest(:since::date, (SELECT (min(at) AT TIME ZONE 'UTC')::date FROM station_pass
                                                WHERE programme_id = :programme_id)),
                       :until::date, interval '1 day') AS d
 WHERE NOT EXISTS (SELECT FROM quality_day q WHERE q.programme_id = :programme_id AND q.day = d::date)
 ORDER BY 1 LIMIT :rows_max;

-- name: tallies_of_days
-- Within one range of time besides, here and below, for the sake of the index: by days alone all results are read.
SELECT (at AT TIME ZONE 'UTC')::date AS day, station, variant, software, lots, count(*) AS vehicles,
       count(*) FILTER (WHERE NOT at_once) AS failed
  FROM station_pass
 WHERE programme_id = :programme_id AND at >= :first AND at < :until AND (at AT TIME ZONE 'UTC')::date = ANY(:days::date[])
   AND (:stations::text[] IS NULL OR station = ANY(:stations::text[]))
 GROUP BY 1, station, variant, software, lots
 LIMIT :rows_max;

-- name: gates_of_days
-- Vehicles that were looked at by chance, or all: those of a contained lot, or that nobody asked for, say nothing of the
-- others. One that a gate looked at on two days counts on both.
SELECT (r.at AT TIME ZONE 'UTC')::date AS day, r.station, r.gate, count(DISTINCT r.vehicle) AS inspected,
       count(DISTINCT r.vehicle) FILTER (WHERE NOT r.passed) AS refused
  FROM station_result r
  LEFT JOIN gate_draw c ON c.programme_id = r.programme_id AND c.order_id = r.order_id AND c.station = r.station
                       AND c.gate = r.gate
 WHERE r.programme_id = :programme_id AND r.at >= :first AND r.at < :until AND r.gate <> '' AND r.attempt = 1
   AND (r.at AT TIME ZONE 'UTC')::date = ANY(:days::date[])
   AND (c.order_id IS NULL OR (c.inspect AND (c.permille < 1000 OR c.every)))
 GROUP BY 1, r.station, r.gate;

-- name: vehicles_of_days
-- Vehicles that were checked on these days and on none before, anywhere on the line; and those that left it on these days
-- and were checked nowhere, as where gates let them pass. By the week of birth, which vehicles have in common.
SELECT day, count(*) AS vehicles
  FROM (SELECT vehicle, min((at AT TIME ZONE 'UTC')::date) AS day FROM station_pass
         WHERE programme_id = :programme_id AND at >= :first AND at < :until GROUP BY vehicle
        UNION ALL
        SELECT o.id, (v.born_at AT TIME ZONE 'UTC')::date
          FROM birth_trait t JOIN vehicle v ON v.vin = t.vin JOIN plant_order o ON o.vin = t.vin
         WHERE t.programme_id = :programme_id AND t.kind = 'week' AND t.thing = '' AND t.value = ANY(:weeks::text[])
           AND o.programme_id = :programme_id AND v.born_at >= :first AND v.born_at < :until
           AND NOT EXISTS (SELECT FROM station_pass q
                            WHERE q.programme_id = :programme_id AND q.station = ANY(:stations::text[]) AND q.vehicle = o.id)
       ) AS p
 WHERE day = ANY(:days::date[])
   AND NOT EXISTS (SELECT FROM station_pass q
                    WHERE q.programme_id = :programme_id AND q.station = ANY(:stations::text[]) AND q.vehicle = p.vehicle
                      AND q.at < :first)
 GROUP BY day;

-- name: births_of_orders
SELECT v.born_at FROM plant_order o JOIN vehicle v ON v.vin = o.vin
 WHERE o.programme_id = :programme_id AND o.id = ANY(:orders::text[]);

-- name: insert_day!
INSERT INTO quality_day (programme_id, day, vehicles, counted_at) VALUES (:programme_id, :day, :vehicles, :now);

-- name: insert_day_pass*!
INSERT INTO quality_day_pass (programme_id, day, station, variant, software, lots, vehicles, failed)
VALUES (:programme_id, :day, :station, :variant, :software, :lots, :vehicles, :failed);

-- name: insert_day_gate*!
INSERT INTO quality_day_gate (programme_id, day, station, gate, inspected, refused)
VALUES (:programme_id, :day, :station, :gate, :inspected, :refused);

-- name: forget_days!
DELETE FROM quality_day WHERE programme_id = :programme_id AND (day = ANY(:days::date[]) OR day < :before::date);

-- name: forget_days_of_vehicle!
DELETE FROM quality_day WHERE programme_id = :programme_id
   AND day IN (SELECT (at AT TIME ZONE 'UTC')::date FROM station_result
                WHERE programme_id = :programme_id AND vehicle = :vehicle AND station = ANY(:stations::text[])
                  AND gate <> '' AND attempt = 1);

-- name: crowded_day$
-- Whether a day had more kinds of vehicles than are kept.
SELECT EXISTS (SELECT FROM quality_day_pass WHERE programme_id = :programme_id AND day >= :since::date
                GROUP BY day HAVING count(*) > :rows_max);

-- name: counted_tallies
SELECT station, variant, software, lots, sum(vehicles)::bigint AS vehicles, sum(failed)::bigint AS failed
  FROM quality_day_pass
 WHERE programme_id = :programme_id AND day >= :since::date
   AND (:stations::text[] IS NULL OR station = ANY(:stations::text[]))
 GROUP BY station, variant, software, lots LIMIT :rows_max;

-- name: counted_gates
SELECT station, gate, sum(inspected)::bigint AS inspected, sum(refused)::bigint AS refused
  FROM quality_day_gate WHERE programme_id = :programme_id AND day >= :since::date GROUP BY station, gate;

-- name: counted_vehicles$
SELECT coalesce(sum(vehicles), 0)::bigint FROM quality_day WHERE programme_id = :programme_id AND day >= :since::date;

-- name: counted
-- Vehicles of full blocks, those of closed alarms left out: what these told of is over. Of the older ones without lots.
SELECT p.station, p.variant, p.software, CASE WHEN p.number < s.whole THEN '{}' ELSE p.lots END AS lots, p.period,
       p.number / :block AS block,
       count(*) AS vehicles, count(*) FILTER (WHERE NOT p.at_once) AS failed
  FROM station_pass p
  JOIN unnest(:stations::text[], :firsts::bigint[], :wholes::bigint[], :numbers::bigint[])
       AS s (station, first, whole, number) ON s.station = p.station
 WHERE p.programme_id = :programme_id AND p.number >= s.first AND p.number < s.number
   AND NOT EXISTS (
       SELECT FROM quality_alarm a
        WHERE a.programme_id = p.programme_id AND a.station = p.station AND a.closed_at >= p.at
          AND (a.kind = 'station' OR (a.kind = 'variant' AND a.value = p.variant)
               OR (a.kind = 'software' AND a.value = p.software)
               OR (a.kind = 'lot' AND EXISTS (SELECT FROM jsonb_each_text(p.lots) e WHERE e.key || '=' || e.value = a.value))))
 GROUP BY p.station, p.variant, p.software, 4, p.period, p.number / :block
 LIMIT :rows_max;

-- name: watched
-- Of one period of each of these stations, and those that it is compared with.
SELECT w.station, w.kind, w.value, w.period, w.number
  FROM unnest(:stations::text[], :periods::int[]) AS s (station, period)
  JOIN quality_watch w ON w.programme_id = :programme_id AND w.station = s.station AND w.period BETWEEN s.period - :behind AND s.period;

-- name: begun
SELECT station, max(period) AS period FROM quality_watch
 WHERE programme_id = :programme_id AND station = ANY(:stations::text[]) GROUP BY station;

-- name: watched_so_far$
SELECT coalesce(max(number), 0) FROM quality_watch WHERE programme_id = :programme_id;

-- name: insert_watch!
INSERT INTO quality_watch (programme_id, station, kind, value, period, number)
VALUES (:programme_id, :station, :kind, :value, :period, :number);

-- name: is_late$
SELECT EXISTS (SELECT FROM quality_late
                WHERE programme_id = :programme_id AND (newest_at <= :quiet_since OR first_at <= :waited_since));

-- name: take_late
DELETE FROM quality_late q
 USING (SELECT station, period FROM quality_late
         WHERE programme_id = :programme_id AND (newest_at <= :quiet_since OR first_at <= :waited_since)
         ORDER BY station, period LIMIT :rows_max) AS due
 WHERE q.programme_id = :programme_id AND (q.station, q.period) = (due.station, due.period)
RETURNING q.station, q.period;

-- name: forget_late!
DELETE FROM quality_late q USING unnest(:stations::text[], :periods::int[]) AS s (station, period)
 WHERE q.programme_id = :programme_id AND (q.station, q.period) = (s.station, s.period);

-- name: watch_anew!
-- What is watched again gets another number, and so another share of the bound.
UPDATE quality_watch w SET number = r.number
  FROM (SELECT kind, value, period,
               (SELECT max(number) FROM quality_watch WHERE programme_id = :programme_id)
               + row_number() OVER (ORDER BY number) AS number
          FROM quality_watch
         WHERE programme_id = :programme_id AND station = :station AND period = :period) AS r
 WHERE w.programme_id = :programme_id AND w.station = :station
   AND (w.kind, w.value, w.period) = (r.kind, r.value, r.period);

-- name: insert_alarm!
INSERT INTO quality_alarm (id, programme_id, plant_id, station, kind, value, evidence, opened_at)
VALUES (:alarm_id, :programme_id, :plant_id, :station, :kind, :value, :evidence, :now);

-- name: set_alarm_finding!
UPDATE quality_alarm SET finding_id = :finding_id WHERE id = :alarm_id;

-- name: close_alarm!
UPDATE quality_alarm SET closed_at = :now, closed_by = :actor, reason = :reason
 WHERE id = :alarm_id AND closed_at IS NULL;

-- name: alarm^
SELECT * FROM quality_alarm WHERE id = :alarm_id;

-- name: alarms
SELECT * FROM quality_alarm
 WHERE programme_id = :programme_id AND (NOT :only_open::boolean OR closed_at IS NULL)
 ORDER BY closed_at IS NULL DESC, opened_at DESC, id DESC LIMIT :rows_max;

-- name: programmes_with_results
SELECT p.id FROM programme p
 WHERE EXISTS (SELECT FROM station_pass s WHERE s.programme_id = p.id) ORDER BY p.id;

-- name: escaped
-- Vehicles that the field traced to a gate, whether it had looked at them, and whether by chance, or as at all: as
-- `gates_of_days` counts what it looked at.
SELECT t.gate_station AS station, t.gate, o.id AS vehicle, o.variant, t.part, t.lot,
       EXISTS (SELECT FROM station_result r
                WHERE r.programme_id = t.programme_id AND r.vehicle = o.id AND r.station = t.gate_station
                  AND r.gate = t.gate) AS inspected,
       NOT EXISTS (SELECT FROM gate_draw c
                    WHERE c.programme_id = t.programme_id AND c.order_id = o.id AND c.station = t.gate_station
                      AND c.gate = t.gate AND NOT (c.inspect AND (c.permille < 1000 OR c.every))) AS by_chance
  FROM (SELECT DISTINCT ON (vin, gate_station, gate) * FROM field_trace
         WHERE programme_id = :programme_id AND gate <> '' AND occurred_at > :since
         ORDER BY vin, gate_station, gate, occurred_at) AS t
  JOIN plant_order o ON o.programme_id = t.programme_id AND o.vin = t.vin
 LIMIT :rows_max;

-- name: make_seed!
INSERT INTO gate_seed (programme_id, seed, made_at) VALUES (:programme_id, :seed, :now) ON CONFLICT (programme_id) DO NOTHING;

-- name: seed$
SELECT seed FROM gate_seed WHERE programme_id = :programme_id;

-- name: line_of_site$
-- A line that no plant document describes is a plant of its programme's name.
SELECT EXISTS (SELECT FROM programme p JOIN site s ON s.id = coalesce(p.plant_id, p.id)
                WHERE p.id = :programme_id AND s.removed_at IS NULL);

-- name: draws_of
SELECT station, gate, inspect, permille, reason, every FROM gate_draw WHERE programme_id = :programme_id AND order_id = :order_id;

-- name: keep_draw!
INSERT INTO gate_draw (programme_id, order_id, station, gate, inspect, permille, reason, every, drawn_at)
VALUES (:programme_id, :order_id, :station, :gate, :inspect, :permille, :reason, :every, :now)
ON CONFLICT (programme_id, order_id, station, gate)
DO UPDATE SET inspect = excluded.inspect, permille = excluded.permille, reason = excluded.reason,
              every = excluded.every, drawn_at = excluded.drawn_at, told_at = NULL;

-- name: list_draws
SELECT d.order_id, o.vin, d.station, d.gate, d.inspect, d.permille, d.reason, d.drawn_at, r.passed
  FROM gate_draw d
  JOIN plant_order o ON o.id = d.order_id
  LEFT JOIN LATERAL (
       SELECT bool_and(n.passed) AS passed
         FROM (SELECT DISTINCT ON (check_name) passed FROM station_result
                WHERE programme_id = d.programme_id AND vehicle = d.order_id AND station = d.station AND gate = d.gate
                ORDER BY check_name, attempt DESC) AS n) AS r ON true
 WHERE d.programme_id = :programme_id
   AND CASE WHEN :vehicle::text IS NULL THEN true
            ELSE d.order_id = coalesce((SELECT id FROM plant_order WHERE id = :vehicle),
                                       (SELECT id FROM plant_order WHERE vin = :vehicle LIMIT 1)) END
 ORDER BY d.drawn_at DESC, d.order_id DESC, d.station, d.gate LIMIT :rows_max;

-- name: untold_draws
SELECT d.programme_id, d.order_id, o.vin, d.station, d.gate, d.inspect, d.permille, d.reason, d.drawn_at, NULL AS passed
  FROM gate_draw d JOIN plant_order o ON o.id = d.order_id
 WHERE d.told_at IS NULL ORDER BY d.drawn_at LIMIT :rows_max;

-- name: told_draw!
UPDATE gate_draw SET told_at = :now
 WHERE programme_id = :programme_id AND order_id = :order_id AND station = :station AND gate = :gate
   AND drawn_at = :drawn_at;

-- name: bad_lots_of
-- Parts of a vehicle, told as such or with a result, of which the lot is contained or an alarm about it stands.
SELECT u.part, u.lot, min(u.station) AS station, bool_or(c.stays) AS stays
  FROM (SELECT part, lot, station FROM built_part WHERE order_id = :order_id
        UNION SELECT e.key, e.value, r.station
          FROM station_result r CROSS JOIN LATERAL jsonb_each_text(r.lots) AS e
         WHERE r.programme_id = :programme_id AND r.vehicle = :order_id) AS u
  JOIN (SELECT part, lot, true AS stays FROM contained_lot
         WHERE programme_id = :programme_id AND released_at IS NULL
        UNION SELECT split_part(value, '=', 1), substr(value, strpos(value, '=') + 1), false FROM quality_alarm
         WHERE programme_id = :programme_id AND kind = 'lot' AND closed_at IS NULL) AS c
    ON c.part = u.part AND c.lot = u.lot
 GROUP BY u.part, u.lot ORDER BY u.part, u.lot;

-- name: lots_of
-- What was fitted to a vehicle where, told as such or with a result.
SELECT station, part, lot FROM built_part WHERE order_id = :order_id
UNION SELECT r.station, e.key, e.value
  FROM station_result r CROSS JOIN LATERAL jsonb_each_text(r.lots) AS e
 WHERE r.programme_id = :programme_id AND r.vehicle = :order_id;

-- name: kinds_drawn
-- How many vehicles each gate chose since for each kind.
SELECT d.station, d.gate, d.reason, count(*) AS drawn
  FROM gate_draw d
  JOIN unnest(:stations::text[], :gates::text[], :reasons::text[]) AS k (station, gate, reason)
    ON (k.station, k.gate, k.reason) = (d.station, d.gate, d.reason)
 WHERE d.programme_id = :programme_id AND d.drawn_at > :since AND d.inspect AND d.permille = 1000 AND NOT d.every
 GROUP BY d.station, d.gate, d.reason;

-- name: newest_drawn
-- Of how many of the newest choices since the kinds of today were decided, by gate, and how many were for one of these.
SELECT d.station, d.gate, count(*) AS vehicles, count(k.reason) AS of_kinds
  FROM (SELECT station, gate, reason FROM gate_draw WHERE programme_id = :programme_id AND drawn_at > :decided_at
         ORDER BY drawn_at DESC, order_id DESC LIMIT :rows_max) AS d
  LEFT JOIN unnest(:stations::text[], :gates::text[], :reasons::text[]) AS k (station, gate, reason)
    ON (k.station, k.gate, k.reason) = (d.station, d.gate, d.reason)
 GROUP BY d.station, d.gate;

-- name: insert_contained!
INSERT INTO contained_lot (id, programme_id, part, lot, reason, contained_at, contained_by)
VALUES (:lot_id, :programme_id, :part, :lot, :reason, :now, :actor)
ON CONFLICT (programme_id, part, lot) WHERE released_at IS NULL DO NOTHING;

-- name: release_contained!
UPDATE contained_lot SET released_at = :now, released_by = :actor, release_reason = :reason
 WHERE id = :lot_id AND released_at IS NULL;

-- name: contained^
SELECT * FROM contained_lot WHERE id = :lot_id;

-- name: list_contained
SELECT * FROM contained_lot
 WHERE programme_id = :programme_id AND (NOT :only_open::boolean OR released_at IS NULL)
 ORDER BY released_at IS NULL DESC, contained_at DESC, id DESC LIMIT :rows_max;

-- file: src/ringroad/build/queries.sql
-- name: programme^
SELECT p.*, d.document AS plant
  FROM programme p
  LEFT JOIN LATERAL (SELECT document FROM plant WHERE id = p.plant_id ORDER BY generation DESC LIMIT 1) d ON true
 WHERE p.id = :programme_id;

-- name: lock_programme$
SELECT id FROM programme WHERE id = :programme_id FOR NO KEY UPDATE;

-- name: programmes
SELECT p.*, d.document AS plant
  FROM programme p
  LEFT JOIN LATERAL (SELECT document FROM plant WHERE id = p.plant_id ORDER BY generation DESC LIMIT 1) d ON true
 ORDER BY p.id LIMIT :rows_max;

-- name: insert_programme!
INSERT INTO programme (id, digest, source, document, imported_at)
VALUES (:programme_id, :digest, :source, :document, :now)
ON CONFLICT (id) DO NOTHING;

-- name: update_programme!
UPDATE programme SET digest = :digest, source = :source, document = :document, imported_at = :now,
       generation = generation + 1
 WHERE id = :programme_id AND generation = :generation;

-- name: ecus_on_the_road
SELECT DISTINCT v.variant, e.name, e.hardware_id
  FROM vehicle v JOIN ecu e ON e.vin = v.vin AND e.removed_at IS NULL
 WHERE v.programme_id = :programme_id;

-- name: insert_package!
INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids, image_sha256,
       image_sha512, image_bytes, release_counter, facts, requires, conflicts, upgrades_from, added_at)
VALUES (:id, :programme_id, :ecu, :name, :version, :filename, :format, :hardware_ids, :image_sha256,
       :image_sha512, :image_bytes, :release_counter, :facts, :requires, :conflicts, :upgrades_from, :now)
ON CONFLICT (programme_id, ecu, version) DO NOTHING;

-- name: package^
SELECT * FROM software_package WHERE id = :package_id;

-- name: package_of_version^
SELECT * FROM software_package WHERE programme_id = :programme_id AND ecu = :ecu AND version = :version;

-- name: packages
SELECT * FROM software_package
 WHERE (:programme_id::text IS NULL OR programme_id = :programme_id)
   AND (:ecu::text IS NULL OR ecu = :ecu)
   AND id > :after_id
 ORDER BY id LIMIT :rows_max;

-- name: packages_by_id
SELECT * FROM software_package WHERE id = ANY(:package_ids::text[]) ORDER BY id;

-- name: packages_of_ecus
SELECT * FROM software_package WHERE programme_id = :programme_id AND ecu = ANY(:ecus::text[]) ORDER BY id;

-- name: packages_of_images
SELECT * FROM software_package WHERE programme_id = :programme_id AND image_sha256 = ANY(:sha256s::text[]) ORDER BY id;

-- name: image_names
SELECT image_sha256 FROM software_package UNION SELECT sha256 FROM image_delta WHERE sha256 IS NOT NULL;

-- name: hold_images$
SELECT pg_advisory_lock_shared(hashtext('ringroad.images'));

-- name: let_images_go$
SELECT pg_advisory_unlock_shared(hashtext('ringroad.images'));

-- name: own_images$
SELECT pg_try_advisory_lock(hashtext('ringroad.images'));

-- name: disown_images$
SELECT pg_advisory_unlock(hashtext('ringroad.images'));

-- name: signed_counters
SELECT p.ecu, max(p.release_counter) AS counter
  FROM release r
  CROSS JOIN LATERAL jsonb_each(r.document -> 'variants') v
  CROSS JOIN LATERAL jsonb_each_text(v.value) e
  JOIN software_package p ON p.id = e.value
 WHERE r.programme_id = :programme_id AND r.signed_at IS NOT NULL
 GROUP BY p.ecu;

-- name: running_versions
SELECT DISTINCT e.name AS ecu, i.version
  FROM vehicle v
  JOIN ecu e ON e.vin = v.vin AND e.removed_at IS NULL
  JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
 WHERE v.programme_id = :programme_id
UNION
SELECT p.ecu, p.version
  FROM line_baseline b
  CROSS JOIN LATERAL jsonb_each(b.packages) v
  CROSS JOIN LATERAL jsonb_each_text(v.value) e
  JOIN software_package p ON p.id = e.value
 WHERE b.programme_id = :programme_id
ORDER BY 1, 2;

-- name: insert_release!
INSERT INTO release (id, programme_id, name, version, state, change_id, lap_id, document, created_by, created_at)
VALUES (:release_id, :programme_id, :name, :version, 'draft', :change_id, :lap_id, :document, :actor, :now);

-- name: release^
SELECT * FROM release WHERE id = :release_id;

-- name: release_of_version^
SELECT id, document FROM release WHERE programme_id = :programme_id AND version = :version;

-- name: releases
SELECT * FROM release
 WHERE (:programme_id::text IS NULL OR programme_id = :programme_id) AND id > :after_id
 ORDER BY id LIMIT :rows_max;

-- name: revise_release!
UPDATE release SET document = :document, state = 'draft', findings = '[]', downgrades = NULL, generation = generation + 1
 WHERE id = :release_id AND generation = :generation AND state IN ('draft', 'checked');

-- name: keep_findings!
UPDATE release SET findings = :findings, state = :state, generation = generation + 1
 WHERE id = :release_id AND generation = :generation AND state IN ('draft', 'checked');

-- name: keep_downgrades!
UPDATE release SET downgrades = :downgrades, generation = generation + 1
 WHERE id = :release_id AND generation = :generation AND state = 'checked';

-- name: signed_downgrades
SELECT downgrades FROM release
 WHERE state = 'signed' AND downgrades IS NOT NULL AND (downgrades -> 0 ->> 'expires')::timestamptz > :now
 ORDER BY id;

-- name: mark_signed!
UPDATE release SET state = 'signed', signed_at = :now, generation = generation + 1
 WHERE id = :release_id AND generation = :generation AND state = 'checked';

-- name: withdraw!
UPDATE release SET state = 'withdrawn', generation = generation + 1
 WHERE id = :release_id AND generation = :generation AND state <> 'withdrawn';

-- name: baseline^
SELECT * FROM line_baseline WHERE programme_id = :programme_id;

-- name: baseline_of_release$
SELECT count(*) FROM line_baseline WHERE release_id = :release_id;

-- name: insert_baseline!
INSERT INTO line_baseline (programme_id, release_id, packages, rxswins, set_at)
VALUES (:programme_id, :release_id, :packages, :rxswins, :now)
ON CONFLICT (programme_id) DO NOTHING;

-- name: update_baseline!
UPDATE line_baseline SET release_id = :release_id, packages = :packages, rxswins = :rxswins, set_at = :now, generation = generation + 1
 WHERE programme_id = :programme_id AND generation = :generation;

-- name: vehicle^
SELECT * FROM vehicle WHERE vin = :vin;

-- name: vehicle_ecus
SELECT * FROM ecu WHERE vin = :vin AND removed_at IS NULL ORDER BY serial;

-- name: insert_vehicle!
INSERT INTO vehicle (vin, programme_id, variant, region, tags, gateway, token_sha256, primary_serial, release_id, born_at)
VALUES (:vin, :programme_id, :variant, :region, :tags, :gateway, :token_sha256, :primary_serial, :release_id, :now)
ON CONFLICT (vin) DO NOTHING;

-- name: invite_vehicle!
UPDATE vehicle SET enrolment_sha256 = :enrolment_sha256, enrolment_until = :until, generation = generation + 1
 WHERE vin = :vin;

-- name: shut_out_vehicle!
UPDATE vehicle SET token_sha256 = :token_sha256, certificates = '{}', certificate_until = NULL, certificates_after = :now,
       enrolment_sha256 = NULL, enrolment_until = NULL, generation = generation + 1
 WHERE vin = :vin;

-- name: insert_ecu!
INSERT INTO ecu (vin, serial, name, hardware_id, public_key, key_id, is_primary, added_at)
VALUES (:vin, :serial, :name, :hardware_id, :public_key, :key_id, :is_primary, :now);

-- name: insert_installed!
INSERT INTO ecu_installed (vin, serial, filename, version, image_sha256, reported_at, first_at)
VALUES (:vin, :serial, :filename, :version, :image_sha256, :now, :now);

-- name: finish_order!
UPDATE plant_order SET state = 'born', vin = :vin WHERE id = :order_id AND programme_id = :programme_id
   AND variant = :variant AND state IN ('open', 'building');

-- name: insert_order!
INSERT INTO plant_order (id, programme_id, variant, options, region, rush, due_at, earliest_at, received_at)
VALUES (:order_id, :programme_id, :variant, :options, :region, :rush, :due_at, :earliest_at, :now);

-- name: order^
SELECT * FROM plant_order WHERE id = :order_id;

-- name: waiting_orders
SELECT * FROM plant_order WHERE programme_id = :programme_id AND state IN ('open', 'building')
 ORDER BY received_at, id LIMIT :rows_max;

-- name: orders
SELECT * FROM plant_order WHERE programme_id = :programme_id ORDER BY received_at DESC, id DESC LIMIT :rows_max;

-- name: move_order!
UPDATE plant_order SET state = :state WHERE id = :order_id AND state = :before;

-- name: block_option!
INSERT INTO blocked_option (programme_id, option, reason, since) VALUES (:programme_id, :option, :reason, :now)
ON CONFLICT (programme_id, option) DO NOTHING;

-- name: unblock_option!
DELETE FROM blocked_option WHERE programme_id = :programme_id AND option = :option;

-- name: blocked_options
SELECT * FROM blocked_option WHERE programme_id = :programme_id ORDER BY option;

-- name: current_schedule^
SELECT * FROM line_schedule WHERE programme_id = :programme_id ORDER BY generation DESC LIMIT 1;

-- name: schedule_at^
SELECT * FROM line_schedule WHERE programme_id = :programme_id AND made_at <= :at ORDER BY generation DESC LIMIT 1;

-- name: insert_schedule!
INSERT INTO line_schedule (id, programme_id, generation, parent_id, cause, document, replan_latency_us, made_at)
SELECT :schedule_id, :programme_id, :generation + 1, :parent_id, :cause, :document, :replan_latency_us, :now
 WHERE :generation = coalesce((SELECT max(generation) FROM line_schedule WHERE programme_id = :programme_id), 0)
ON CONFLICT (programme_id, generation) DO NOTHING;

-- name: current_generations
SELECT programme_id, max(generation) AS generation FROM line_schedule s
 GROUP BY programme_id
HAVING NOT EXISTS (SELECT FROM line_check c WHERE c.programme_id = s.programme_id AND c.generation = max(s.generation))
 ORDER BY programme_id;

-- name: insert_check!
INSERT INTO line_check (id, programme_id, schedule_id, generation, released, reason, better_permille, replications,
       vehicles, moved, checked_us, worked_us, document, checked_at)
VALUES (:check_id, :programme_id, :schedule_id, :generation, :released, :reason, :better_permille, :replications,
       :vehicles, :moved, :checked_us, :worked_us, :document, :now);

-- name: orders_by_id
SELECT * FROM plant_order WHERE programme_id = :programme_id AND id = ANY(:order_ids::text[]);

-- name: times_before
SELECT event_id AS id, order_id, station, worked_ms, finished_at FROM station_time
 WHERE programme_id = :programme_id AND (order_id = ANY(:order_ids::text[]) OR event_id = ANY(:event_ids::text[]));

-- name: insert_time!
INSERT INTO station_time (programme_id, event_id, order_id, station, worked_ms, finished_at, recorded_at)
VALUES (:programme_id, :event_id, :order_id, :station, :worked_ms, :finished_at, :now);

-- name: forget_times!
DELETE FROM station_time
 WHERE programme_id = :programme_id AND station = ANY(:stations::text[]) AND finished_at < :oldest;

-- name: recent_times
SELECT t.station, t.worked_ms, o.variant, o.options
  FROM unnest(:stations::text[]) AS s (name)
  CROSS JOIN LATERAL (SELECT * FROM station_time WHERE programme_id = :programme_id AND station = s.name
                        AND (:since::timestamptz IS NULL OR finished_at > :since)
                        AND (:until::timestamptz IS NULL OR finished_at <= :until)
                       ORDER BY finished_at DESC, event_id DESC LIMIT :rows_max) AS t
  JOIN plant_order o ON o.id = t.order_id
 ORDER BY t.finished_at, t.event_id;

-- name: insert_what_if!
-- Until it is answered, the answer holds what else was asked: from which state of before, after which events.
INSERT INTO line_what_if (id, programme_id, station, down_s, asked_by, asked_at, answer)
VALUES (:what_if_id, :programme_id, :station, :down_s, :actor, :now, :asked);

-- name: forget_what_ifs!
DELETE FROM line_what_if WHERE programme_id = :programme_id AND answered_at IS NOT NULL
   AND id NOT IN (SELECT id FROM line_what_if WHERE programme_id = :programme_id ORDER BY asked_at DESC, id DESC LIMIT :kept);

-- name: open_what_ifs
SELECT id, programme_id, station, down_s, answer -> 'branch' AS branch FROM line_what_if WHERE answered_at IS NULL ORDER BY asked_at, id LIMIT :rows_max;

-- name: count_open_what_ifs$
SELECT count(*) FROM line_what_if WHERE programme_id = :programme_id AND answered_at IS NULL;

-- name: answer_what_if!
UPDATE line_what_if SET generation = :generation, answer = :answer, answered_at = :now
 WHERE id = :what_if_id AND answered_at IS NULL;

-- name: insert_stop!
INSERT INTO line_stop (id, programme_id, station, kind, reason, options, event_id, began_at, expected_s, stopped_by)
VALUES (:id, :programme_id, :station, :kind, :reason, :options, :event_id, :began_at, :expected_s, :stopped_by);

-- name: stop^
SELECT * FROM line_stop WHERE id = :stop_id;

-- name: stop_of_event^
SELECT * FROM line_stop WHERE programme_id = :programme_id AND event_id = :event_id;

-- name: events_taken$
SELECT coalesce(max(position), 0) FROM mes_event WHERE programme_id = :programme_id;

-- name: open_stops
SELECT * FROM line_stop WHERE programme_id = :programme_id AND ended_at IS NULL ORDER BY began_at, id LIMIT :rows_max;

-- name: stops_at
SELECT * FROM line_stop WHERE programme_id = :programme_id AND began_at <= :at AND (ended_at IS NULL OR ended_at > :at)
 ORDER BY began_at, id LIMIT :rows_max;

-- name: end_stop!
UPDATE line_stop SET ended_at = :ended_at, ended_by = :actor WHERE id = :stop_id AND ended_at IS NULL;

-- Keys of artifacts --------------------------------------------------------------------------------
-- name: artifact_keys
SELECT id, programme_id, supplier, name, kind, sha256, pem, added_by, added_at, revoked_by, revoked_at
  FROM artifact_key
 WHERE (:programme_id::text IS NULL OR programme_id = :programme_id) AND (NOT :only_good OR revoked_at IS NULL)
 ORDER BY added_at DESC, id LIMIT :rows_max;

-- name: count_artifact_keys$
SELECT count(*) FROM artifact_key WHERE programme_id = :programme_id AND revoked_at IS NULL;

-- name: insert_artifact_key!
INSERT INTO artifact_key (id, programme_id, supplier, name, kind, sha256, pem, added_by, added_at)
VALUES (:id, :programme_id, :supplier, :name, :kind, :sha256, :pem, :actor, :now)
ON CONFLICT (programme_id, supplier, sha256) WHERE revoked_at IS NULL DO NOTHING;

-- name: revoke_artifact_key^
UPDATE artifact_key SET revoked_at = :now, revoked_by = :actor WHERE id = :id AND revoked_at IS NULL
RETURNING programme_id;

-- name: built_parts
SELECT event_id AS id, order_id, station, part, lot, serial, supplier, fitted_at FROM built_part
 WHERE order_id = :order_id ORDER BY fitted_at, event_id LIMIT :rows_max;

-- name: built_part^
SELECT event_id AS id, order_id, station, part, lot, serial, supplier, fitted_at FROM built_part
 WHERE programme_id = :programme_id AND event_id = :event_id;

-- name: part_of_serial$
SELECT order_id FROM built_part WHERE programme_id = :programme_id AND part = :part AND serial = :serial;

-- name: insert_part!
INSERT INTO built_part (programme_id, event_id, order_id, station, part, lot, serial, supplier, fitted_at, told_by, told_at)
VALUES (:programme_id, :event_id, :order_id, :station, :part, :lot, :serial, :supplier, :fitted_at, :actor, :now)
ON CONFLICT DO NOTHING;

-- name: order_of_vin^
SELECT * FROM plant_order WHERE vin = :vin;

-- name: results_of_order
-- The newest of each check first: what one check told often never hides another.
SELECT event_id, check_name, station, passed, at, attempt, lots FROM station_result
 WHERE programme_id = :programme_id AND vehicle = :order_id
 ORDER BY row_number() OVER (PARTITION BY station, check_name ORDER BY at DESC, attempt DESC), at DESC, attempt DESC
 LIMIT :rows_max;

-- name: count_parts$
SELECT count(*) FROM built_part WHERE order_id = :order_id;

-- name: insert_birth_record!
INSERT INTO birth_record (vin, sha256, record, key_id, made_at) VALUES (:vin, :sha256, :record, :key_id, :now);

-- name: birth_record^
SELECT vin, sha256, record, key_id, made_at FROM birth_record WHERE vin = :vin;

-- name: insert_trait!
INSERT INTO birth_trait (programme_id, kind, thing, value, vin, station)
VALUES (:programme_id, :kind, :thing, :value, :vin, :station)
ON CONFLICT DO NOTHING;

-- name: count_born$
SELECT count(*) FROM birth_trait WHERE programme_id = :programme_id AND kind = 'week';

-- name: born_of
SELECT vin FROM birth_trait WHERE programme_id = :programme_id AND kind = 'week' AND vin = ANY(:vins::text[]);

-- name: trait_counts
SELECT t.kind, t.thing, t.value, min(t.station) AS station, count(*) AS vehicles,
       count(*) FILTER (WHERE t.vin = ANY(:vins::text[])) AS with_fault
  FROM birth_trait t
 WHERE t.programme_id = :programme_id
 GROUP BY t.kind, t.thing, t.value ORDER BY count(*) DESC, t.kind, t.thing, t.value LIMIT :rows_max;

-- name: rest_counts
-- Of vehicles without one trait: how many have each of some others.
SELECT t.kind, t.thing, t.value, min(t.station) AS station, count(*) AS vehicles,
       count(*) FILTER (WHERE t.vin = ANY(:vins::text[])) AS with_fault
  FROM birth_trait t
  JOIN unnest(:kinds::text[], :things::text[], :values::text[]) AS w (kind, thing, value)
    ON (t.kind, t.thing, t.value) = (w.kind, w.thing, w.value)
 WHERE t.programme_id = :programme_id
   AND NOT EXISTS (SELECT 1 FROM birth_trait l WHERE l.programme_id = t.programme_id AND l.kind = :kind
                      AND l.thing = :thing AND l.value = :value AND l.vin = t.vin)
 GROUP BY t.kind, t.thing, t.value;

-- name: vins_of_trait
SELECT vin FROM birth_trait
 WHERE programme_id = :programme_id AND kind = :kind AND thing = :thing AND value = :value AND vin > :after_vin
 ORDER BY vin LIMIT :rows_max;

-- name: traits_of_vins
SELECT vin, kind, thing, value, station FROM birth_trait
 WHERE programme_id = :programme_id AND vin = ANY(:vins::text[]) AND kind IN ('lot', 'supplier', 'software', 'week')
 ORDER BY vin, kind, thing, value;

-- name: things_of_lot
SELECT thing FROM birth_trait WHERE programme_id = :programme_id AND kind = 'lot' AND value = :lot
UNION SELECT part FROM built_part WHERE programme_id = :programme_id AND lot = :lot
UNION SELECT l.key FROM plant_order o
  JOIN station_result r ON r.programme_id = o.programme_id AND r.vehicle = o.id
 CROSS JOIN LATERAL jsonb_each_text(r.lots) AS l
 WHERE o.programme_id = :programme_id AND o.state IN ('open', 'building') AND l.value = :lot
 ORDER BY 1 LIMIT :rows_max;

-- name: orders_with_lot
SELECT p.order_id FROM built_part p JOIN plant_order o ON o.id = p.order_id
 WHERE p.programme_id = :programme_id AND p.part = :part AND p.lot = :lot AND o.vin IS NULL
UNION SELECT o.id FROM plant_order o
  JOIN station_result r ON r.programme_id = o.programme_id AND r.vehicle = o.id
 WHERE o.programme_id = :programme_id AND o.state IN ('open', 'building') AND r.lots ->> :part = :lot
 ORDER BY 1 LIMIT :rows_max;

-- name: born_with_lot^
SELECT count(*) AS vehicles FROM (
  SELECT p.order_id FROM built_part p JOIN plant_order o ON o.id = p.order_id
   WHERE p.programme_id = :programme_id AND p.part = :part AND p.lot = :lot AND o.vin IS NOT NULL
  UNION SELECT o.id FROM plant_order o
    JOIN station_result r ON r.programme_id = o.programme_id AND r.vehicle = o.id
   WHERE o.programme_id = :programme_id AND o.state = 'born' AND r.lots ->> :part = :lot) AS had;

-- name: claim^
SELECT id, vin, part, fault_code, body AS text, occurred_at FROM claim
 WHERE programme_id = :programme_id AND id = :claim_id;

-- name: insert_claim!
-- Until the release before is gone, an id may still be that of another programme alone.
INSERT INTO claim (id, programme_id, vin, part, fault_code, body, occurred_at, told_by, told_at)
VALUES (:claim_id, :programme_id, :vin, :part, :fault_code, :text, :occurred_at, :actor, :now)
ON CONFLICT DO NOTHING;

-- name: claims
SELECT c.id, c.vin, c.part, c.fault_code, c.body AS text, c.occurred_at, c.told_by, c.told_at,
       t.lot, t.supplier, t.software_version, t.station, t.gate_station, t.gate, t.reason
  FROM claim c LEFT JOIN field_trace t ON (t.source, t.source_id, t.vin) = ('claim', c.id, c.vin)
 WHERE c.programme_id = :programme_id AND (:vin::text IS NULL OR c.vin = :vin)
 ORDER BY c.told_at DESC, c.id DESC LIMIT :rows_max;

-- name: vins_of_claims
SELECT DISTINCT vin FROM claim WHERE programme_id = :programme_id AND (:part = '' OR part = :part)
   AND (:fault_code = '' OR fault_code = :fault_code) ORDER BY vin LIMIT :rows_max;

-- name: keep_trace!
INSERT INTO field_trace (source, source_id, vin, programme_id, part, lot, supplier, software_version, station,
       gate_station, gate, reason, occurred_at, traced_at)
VALUES (:source, :source_id, :vin, :programme_id, :part, :lot, :supplier, :software_version, :station,
       :gate_station, :gate, :reason, :occurred_at, :now)
ON CONFLICT (source, source_id, vin) DO UPDATE SET part = excluded.part, lot = excluded.lot,
       supplier = excluded.supplier, software_version = excluded.software_version, station = excluded.station,
       gate_station = excluded.gate_station, gate = excluded.gate, reason = excluded.reason, traced_at = excluded.traced_at;

-- name: field_traces
SELECT * FROM field_trace
 WHERE programme_id = :programme_id AND (:gate::text IS NULL OR gate = :gate) AND (:since::timestamptz IS NULL OR traced_at >= :since)
 ORDER BY traced_at DESC, source_id, vin LIMIT :rows_max;

-- name: packages_as_built
SELECT ecu, filename, version, image_sha256 FROM software_package
 WHERE programme_id = :programme_id AND filename = ANY(:filenames::text[]);

-- file: src/ringroad/build/repository/queries.sql
-- name: lock_repository^
SELECT pg_advisory_xact_lock(hashtextextended('repository:' || :repository || ':' || :vin, 0));

-- name: latest_metadata^
SELECT version, bytes, expires_at FROM repository_metadata
 WHERE repository = :repository AND vin = :vin AND role = :role
 ORDER BY version DESC LIMIT 1;

-- name: latest_set
SELECT DISTINCT ON (role) role, version, bytes FROM repository_metadata
 WHERE repository = :repository AND vin = :vin AND role IN ('timestamp', 'snapshot', 'targets')
 ORDER BY role, version DESC;

-- name: metadata_bytes$
SELECT bytes FROM repository_metadata
 WHERE repository = :repository AND vin = :vin AND role = :role AND version = :version;

-- name: insert_metadata!
INSERT INTO repository_metadata (repository, vin, role, version, bytes, expires_at, written_at)
VALUES (:repository, :vin, :role, :version, :bytes, :expires_at, :written_at);

-- name: delete_superseded!
-- Timestamps have no versioned name, and a Snapshot is asked for only while the Timestamp names it.
DELETE FROM repository_metadata
 WHERE repository = :repository AND vin = :vin
   AND ((role = 'timestamp' AND version < :timestamp_version)
     OR (role = 'snapshot' AND version < :snapshot_version - 1));

-- name: expiring
-- Due, or written before the newest root, whose keys may be others.
SELECT repository, vin FROM repository_metadata AS stamp
 WHERE role = 'timestamp'
   AND (expires_at <= :before
        OR written_at < (SELECT max(root.written_at) FROM repository_metadata AS root
                          WHERE root.repository = stamp.repository AND root.vin = '' AND root.role = 'root'))
 ORDER BY expires_at, repository, vin LIMIT :rows_max OFFSET :rows_skipped;

-- file: src/ringroad/build/shop/queries.sql
-- name: lock_shop!
SELECT pg_advisory_xact_lock(hashtextextended('shop:' || :plant_id || ':' || :shop, 0));

-- name: current_plan^
SELECT * FROM shop_plan WHERE plant_id = :plant_id AND shop = :shop
   AND (:generation::integer IS NULL OR generation = :generation)
 ORDER BY generation DESC LIMIT 1;

-- name: insert_plan!
INSERT INTO shop_plan (id, plant_id, shop, generation, parent_id, cause, plant_generation, origin_at, problem, document,
                       replan_latency_us, made_by, made_at)
SELECT :plan_id, :plant_id, :shop, :generation + 1, :parent_id, :cause, :plant_generation, :origin_at, :problem,
       :document, :replan_latency_us, :actor, :now
 WHERE :generation = coalesce((SELECT max(generation) FROM shop_plan WHERE plant_id = :plant_id AND shop = :shop), 0)
ON CONFLICT (plant_id, shop, generation) DO NOTHING;

-- name: forget_plans!
DELETE FROM shop_plan WHERE plant_id = :plant_id AND shop = :shop AND generation <= :generation::integer - :kept::integer;

-- name: work_of^
SELECT * FROM shop_work WHERE plant_id = :plant_id AND shop = :shop;

-- name: next_work^
SELECT * FROM shop_work WHERE stage IN ('asked', 'searching', 'proving') AND stage = ANY(:stages::text[])
 ORDER BY stage = 'asked' DESC, asked_at LIMIT 1;

-- name: ask_plan!
INSERT INTO shop_work (plant_id, shop, generation, stage, cause, moves, budget, asked_by, asked_at, changed_at)
VALUES (:plant_id, :shop, 1, 'asked', :cause, :moves, :budget, :actor, :now, :now)
ON CONFLICT (plant_id, shop) DO UPDATE SET generation = shop_work.generation + 1, stage = 'asked', cause = :cause,
   moves = :moves, budget = :budget, bound = '{}', note = '', asked_by = :actor, asked_at = :now, changed_at = :now;

-- name: move_work!
UPDATE shop_work SET stage = :stage, note = :note, bound = coalesce(:bound, bound), changed_at = :now
 WHERE plant_id = :plant_id AND shop = :shop AND generation = :generation AND stage = :before;

-- name: insert_stop!
INSERT INTO shop_stop (id, plant_id, shop, resource, reason, began_at, expected_s, stopped_by)
VALUES (:id, :plant_id, :shop, :resource, :reason, :began_at, :expected_s, :stopped_by);

-- name: stop^
SELECT * FROM shop_stop WHERE id = :stop_id;

-- name: stops
SELECT * FROM shop_stop WHERE plant_id = :plant_id AND shop = :shop AND (NOT :only_open OR ended_at IS NULL)
 ORDER BY ended_at IS NOT NULL, began_at DESC, id LIMIT :rows_max;

-- name: end_stop!
UPDATE shop_stop SET ended_at = :now, ended_by = :actor WHERE id = :stop_id AND ended_at IS NULL;

-- name: overdue_shops
SELECT s.plant_id, s.shop FROM shop_stop s JOIN shop_work w USING (plant_id, shop)
 WHERE s.ended_at IS NULL AND s.began_at + s.expected_s * interval '1 second' < :now
   AND w.stage IN ('done', 'failed') AND w.asked_at < :before AND NOT (w.note = :gone AND :before <= w.changed_at)
   AND EXISTS (SELECT FROM shop_plan p WHERE p.plant_id = s.plant_id AND p.shop = s.shop)
 GROUP BY 1, 2 ORDER BY min(w.changed_at), 1, 2 LIMIT :rows_max;

-- file: src/ringroad/build/site/queries.sql
-- name: sites
SELECT s.*, v.plant AS vin_plant FROM site s LEFT JOIN site_vin v ON v.site_id = s.id
 WHERE s.removed_at IS NULL ORDER BY s.id LIMIT :rows_max;

-- name: site^
SELECT s.*, v.plant AS vin_plant FROM site s LEFT JOIN site_vin v ON v.site_id = s.id WHERE s.id = :site_id;

-- name: put_site!
INSERT INTO site (id, token_sha256, added_by, added_at) VALUES (:site_id, :token_sha256, :actor, :now)
ON CONFLICT (id) DO UPDATE SET token_sha256 = excluded.token_sha256, added_by = excluded.added_by,
       added_at = excluded.added_at, removed_at = NULL, generation = site.generation + 1;

-- name: remove_site!
UPDATE site SET removed_at = :now, generation = generation + 1 WHERE id = :site_id AND removed_at IS NULL;

-- name: hear_site!
UPDATE site SET waiting = :waiting::bigint, births_waiting = :births_waiting::bigint, heard_at = :now,
       reconciled_at = CASE WHEN :waiting::bigint + :births_waiting::bigint = 0 THEN :now ELSE reconciled_at END
 WHERE id = :site_id;

-- name: see_site!
UPDATE site SET heard_at = :now WHERE id = :site_id;

-- name: refused_count$
SELECT count(*) FROM (SELECT 1 FROM mes_refused WHERE programme_id = :programme_id LIMIT :rows_max) AS kept;

-- name: put_conflict!
-- A new one only while there are fewer than so many; one that is known is renewed always.
INSERT INTO site_conflict (site_id, kind, subject, reason, at)
SELECT :site_id::text, :kind::text, :subject::text, :reason::text, :now::timestamptz
 WHERE (SELECT count(*) FROM site_conflict WHERE site_id = :site_id) < :rows_max
    OR EXISTS (SELECT 1 FROM site_conflict WHERE site_id = :site_id AND kind = :kind AND subject = :subject)
ON CONFLICT (site_id, kind, subject) DO UPDATE SET reason = excluded.reason, at = excluded.at;

-- name: conflicts
SELECT * FROM site_conflict WHERE site_id = :site_id ORDER BY at DESC, kind, subject LIMIT :rows_max;

-- name: conflict_counts
SELECT site_id, count(*) AS conflicts FROM site_conflict GROUP BY site_id;

-- name: place^
SELECT number, at FROM site_place WHERE name = :name;

-- name: put_place!
INSERT INTO site_place (name, number, at) VALUES (:name, :number, :now)
ON CONFLICT (name) DO UPDATE SET number = greatest(site_place.number, excluded.number), at = excluded.at;

-- name: set_place!
INSERT INTO site_place (name, number, at) VALUES (:name, :number, :now)
ON CONFLICT (name) DO UPDATE SET number = excluded.number, at = excluded.at;

-- name: advance_place!
-- From where it was when that was read; it may have been set back meanwhile.
INSERT INTO site_place (name, number, at) VALUES (:name, :number, :now)
ON CONFLICT (name) DO UPDATE SET number = excluded.number, at = excluded.at WHERE site_place.number = :before;

-- name: places
SELECT name, number FROM site_place WHERE starts_with(name, :prefix);

-- name: forget_place!
DELETE FROM site_place WHERE name = :name;

-- name: forget_places!
DELETE FROM site_place WHERE starts_with(name, :prefix);

-- name: unsent
-- What a site's hub does not have yet, by programme; positions have no gaps.
SELECT p.id AS programme_id, coalesce(s.number, 0) AS sent, e.last - greatest(coalesce(s.number, 0), e.first - 1) AS events
  FROM programme p
  LEFT JOIN site_place s ON s.name = 'sent/' || p.id
 CROSS JOIN LATERAL (SELECT min(position) AS first, max(position) AS last FROM mes_event WHERE programme_id = p.id) e
 WHERE coalesce(s.number, 0) < e.last
 ORDER BY p.id;

-- name: news^
SELECT (SELECT coalesce(max(seq), 0) FROM fact) AS fact, (SELECT coalesce(max(number), 0) FROM site_birth) AS birth,
       EXISTS (SELECT 1 FROM programme p LEFT JOIN site_place s ON s.name = 'sent/' || p.id
                CROSS JOIN LATERAL (SELECT max(position) AS last FROM mes_event WHERE programme_id = p.id) e
                WHERE coalesce(s.number, 0) < e.last) AS events;

-- name: lines_told
SELECT p.id AS programme_id, coalesce(s.number, 0) AS told, coalesce(t.number, 0) AS stops_told,
       coalesce((SELECT min(position) FROM mes_event WHERE programme_id = p.id), coalesce(s.number, 0) + 1) AS kept_from
  FROM programme p
  LEFT JOIN site_place s ON s.name = 'sent/' || p.id
  LEFT JOIN site_place t ON t.name = 'stops/' || p.id
 ORDER BY p.id LIMIT :rows_max;

-- name: stops_to_tell
-- Facts of one line have their numbers in the order in which they were committed: whoever writes one has locked it, and
-- notes how many events it had taken. Times place only facts of before that was noted.
SELECT f.seq, s.id, s.event_id, s.station, s.kind, s.reason, s.options, s.began_at, s.expected_s, s.stopped_by,
       CASE WHEN f.kind = 'station.resumed' THEN greatest(s.ended_at, s.began_at) END AS ended_at,
       CASE WHEN f.kind = 'station.resumed' THEN coalesce(s.ended_by, '') ELSE '' END AS ended_by,
       coalesce((f.body ->> 'after')::bigint,
                (SELECT e.position FROM mes_event e
                  WHERE e.programme_id = s.programme_id AND e.received_at <= f.recorded_at
                  ORDER BY e.received_at DESC, e.position DESC LIMIT 1), 0) AS after
  FROM fact f JOIN line_stop s ON s.id = f.subject
 WHERE f.kind IN ('station.stopped', 'station.resumed') AND f.seq > :after AND s.programme_id = :programme_id
 ORDER BY f.seq LIMIT :rows_max;

-- name: stops_of_site
-- Of what a site told since it is one: what stands here and not there, and what ended here and stands there.
SELECT s.* FROM (
    SELECT * FROM line_stop WHERE programme_id = ANY(:programme_ids) AND ended_at IS NULL
       AND NOT id = ANY(:standing) AND NOT event_id = ANY(:standing)
    UNION
    SELECT * FROM line_stop WHERE programme_id = ANY(:programme_ids) AND ended_at IS NOT NULL AND id = ANY(:standing)
    UNION
    SELECT * FROM line_stop WHERE programme_id = ANY(:programme_ids) AND ended_at IS NOT NULL
       AND event_id <> '' AND event_id = ANY(:standing)) AS s
 WHERE EXISTS (SELECT 1 FROM fact f WHERE f.subject = s.id AND f.kind = 'station.stopped' AND f.recorded_at >= :since)
 ORDER BY s.began_at, s.id LIMIT :rows_max;

-- name: stops_standing
SELECT coalesce(nullif(event_id, ''), id) AS known_by FROM line_stop WHERE ended_at IS NULL ORDER BY began_at, id LIMIT :rows_max;

-- name: stops_waiting$
SELECT count(*) FROM fact f JOIN line_stop s ON s.id = f.subject
 WHERE f.kind IN ('station.stopped', 'station.resumed') AND f.seq > :after AND s.programme_id = :programme_id;

-- name: untold_stops$
SELECT count(*) FROM fact f JOIN line_stop s ON s.id = f.subject LEFT JOIN site_place t ON t.name = 'stops/' || s.programme_id
 WHERE f.kind IN ('station.stopped', 'station.resumed') AND f.seq > coalesce(t.number, 0);

-- name: events_to_send
SELECT position, seq, received_at, body FROM mes_event
 WHERE programme_id = :programme_id AND position > :after AND position <= :upto ORDER BY position LIMIT :rows_max;

-- name: newest_fact$
SELECT coalesce(max(seq), 0) FROM fact;

-- name: known_orders
SELECT id, state FROM plant_order WHERE programme_id = :programme_id AND id = ANY(:order_ids);

-- name: other_open_orders
-- Only those that came from the hub: one taken here while cut off is none that the hub cancelled.
SELECT id FROM plant_order o WHERE programme_id = :programme_id AND state = 'open' AND NOT id = ANY(:order_ids)
   AND EXISTS (SELECT 1 FROM fact WHERE subject = o.id AND kind = 'order.received' AND actor = :actor)
 ORDER BY id;

-- name: release_row^
SELECT id, programme_id, name, version, document, findings, generation, created_by, created_at, signed_at, downgrades
  FROM release WHERE id = :release_id;

-- name: package_rows
SELECT id, programme_id, ecu, name, version, filename, format, hardware_ids, image_sha256, image_sha512, image_bytes,
       release_counter, facts, requires, added_at, conflicts, upgrades_from
  FROM software_package WHERE id = ANY(:package_ids) ORDER BY id;

-- name: put_release!
INSERT INTO release (id, programme_id, name, version, state, document, findings, generation, created_by, created_at,
                     signed_at, downgrades)
VALUES (:id, :programme_id, :name, :version, 'signed', :document, :findings, :generation, :created_by, :created_at,
        :signed_at, :downgrades)
ON CONFLICT (id) DO NOTHING;

-- name: put_package!
INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids, image_sha256,
                              image_sha512, image_bytes, release_counter, facts, requires, added_at, conflicts, upgrades_from)
VALUES (:id, :programme_id, :ecu, :name, :version, :filename, :format, :hardware_ids, :image_sha256,
        :image_sha512, :image_bytes, :release_counter, :facts, :requires, :added_at, :conflicts, :upgrades_from)
ON CONFLICT (id) DO NOTHING;

-- name: put_baseline!
INSERT INTO line_baseline (programme_id, release_id, packages, rxswins, generation, set_at)
VALUES (:programme_id, :release_id, :packages, :rxswins, 1, :now)
ON CONFLICT (programme_id) DO UPDATE SET release_id = excluded.release_id, packages = excluded.packages,
       rxswins = excluded.rxswins, generation = line_baseline.generation + 1, set_at = excluded.set_at;

-- name: cancelled_orders
SELECT id FROM plant_order WHERE programme_id = :programme_id AND id = ANY(:order_ids) AND state = 'cancelled' ORDER BY id;

-- name: trusts
SELECT name, bytes, at FROM site_trust WHERE starts_with(name, :prefix) ORDER BY name;

-- name: put_trust!
INSERT INTO site_trust (name, bytes, at) VALUES (:name, :bytes, :now)
ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes, at = excluded.at;

-- name: drop_trust!
DELETE FROM site_trust WHERE name = :name;

-- name: lock_births^
SELECT pg_advisory_xact_lock(hashtextextended('site_birth', 0));

-- name: last_birth$
SELECT coalesce(max(number), 0) FROM site_birth;

-- name: last_position$
SELECT coalesce(max(position), 0) FROM mes_event WHERE programme_id = :programme_id;

-- name: put_birth!
INSERT INTO site_birth (number, vin, told, at) VALUES (:number, :vin, :told, :now);

-- name: next_birth^
SELECT number, told FROM site_birth WHERE number > :after ORDER BY number LIMIT 1;

-- name: vin_plants
SELECT plant FROM site_vin;

-- name: put_vin_plant!
INSERT INTO site_vin (site_id, plant) VALUES (:site_id, :plant);

-- name: site_key^
SELECT certificate, issued_at, expires_at FROM site_key WHERE site_id = :site_id AND key_id = :key_id;

-- name: newest_site_key^
SELECT key_id, issued_at, expires_at FROM site_key WHERE site_id = :site_id ORDER BY issued_at DESC LIMIT 1;

-- name: lock_site_keys^
SELECT pg_advisory_xact_lock(hashtextextended('site_key', 0));

-- name: other_site_of_key$
SELECT min(site_id) FROM site_key WHERE key_id = :key_id AND site_id <> :site_id;

-- name: site_key_revoked^
SELECT recorded_at, body ->> 'reason' AS reason FROM fact
 WHERE subject = :key_id AND kind = 'site.key_revoked' AND body ->> 'site' = :site_id ORDER BY seq DESC LIMIT 1;

-- name: site_keys
-- The fact is the record of what was revoked.
SELECT k.key_id, k.issued_at, k.expires_at, f.recorded_at AS revoked_at, f.actor AS revoked_by, f.body ->> 'reason' AS reason
  FROM site_key k
  LEFT JOIN LATERAL (SELECT recorded_at, actor, body FROM fact
                      WHERE subject = k.key_id AND kind = 'site.key_revoked' AND body ->> 'site' = k.site_id
                      ORDER BY seq DESC LIMIT 1) f ON true
 WHERE k.site_id = :site_id ORDER BY k.issued_at DESC, k.key_id LIMIT :rows_max;

-- name: live_keys$
SELECT count(*) FROM site_key k WHERE site_id = :site_id AND expires_at > :now
   AND NOT EXISTS (SELECT 1 FROM fact WHERE subject = k.key_id AND kind = 'site.key_revoked' AND body ->> 'site' = k.site_id);

-- name: put_site_key!
INSERT INTO site_key (site_id, key_id, certificate, issued_at, expires_at)
VALUES (:site_id, :key_id, :certificate, :issued_at, :expires_at)
ON CONFLICT (site_id, key_id) DO UPDATE SET certificate = excluded.certificate, issued_at = excluded.issued_at,
       expires_at = excluded.expires_at;

-- name: roots
SELECT repository, bytes FROM repository_metadata WHERE role = 'root' AND vin = '' ORDER BY repository, version;

-- name: image_set
SELECT DISTINCT ON (role) role, bytes FROM repository_metadata
 WHERE repository = 'image' AND vin = '' AND role IN ('timestamp', 'snapshot', 'targets') ORDER BY role, version DESC;

-- name: baseline_images
SELECT DISTINCT p.image_sha256 FROM line_baseline b
 CROSS JOIN LATERAL jsonb_each(b.packages) v CROSS JOIN LATERAL jsonb_each_text(v.value) e
  JOIN software_package p ON p.id = e.value
 WHERE b.programme_id = ANY(:programme_ids);

-- name: born_as^
SELECT vin, sha256 FROM birth_record WHERE vin = :vin;


-- name: put_birth_refused!
INSERT INTO site_birth_refused (site_id, vin, sha256, told, code, reason, told_at)
VALUES (:site_id, :vin, :sha256, :told, :code, :reason, :now)
ON CONFLICT (site_id, vin, sha256) DO UPDATE SET code = excluded.code, reason = excluded.reason;

-- name: settle_birth!
UPDATE site_birth_refused SET settled_at = :now, settled_by = :actor
 WHERE site_id = :site_id AND sha256 = :sha256 AND settled_at IS NULL;

-- name: births_refused
SELECT site_id, vin, sha256, code, reason, told_at, settled_at, settled_by FROM site_birth_refused
 WHERE site_id = :site_id ORDER BY told_at DESC, vin LIMIT :rows_max;

-- name: birth_refused^
SELECT vin, told FROM site_birth_refused WHERE site_id = :site_id AND sha256 = :sha256 LIMIT 1;

-- name: births_refused_counts
SELECT site_id, count(*) AS births FROM site_birth_refused WHERE settled_at IS NULL GROUP BY site_id;

-- name: births_refused_count$
SELECT count(*) FROM site_birth_refused WHERE site_id = :site_id AND settled_at IS NULL;

-- name: put_aside!
INSERT INTO site_aside (site_id, sha256, programme_id, what, number, told, code, reason, told_at)
VALUES (:site_id, :sha256, :programme_id, :what, :number, :told, :code, :reason, :now);

-- name: aside^
SELECT * FROM site_aside WHERE site_id = :site_id AND sha256 = :sha256 FOR UPDATE;

-- name: asides
-- What waits first, in the order of its line.
SELECT sha256, programme_id, what, number, code, reason, told_at, settled_at, settled_by FROM site_aside
 WHERE site_id = :site_id ORDER BY settled_at IS NOT NULL, settled_at DESC, told_at, number LIMIT :rows_max;

-- name: aside_waiting$
SELECT count(*) FROM site_aside WHERE site_id = :site_id AND settled_at IS NULL;

-- name: aside_counts
SELECT site_id, count(*) AS waiting FROM site_aside WHERE settled_at IS NULL GROUP BY site_id;

-- name: settle_aside!
UPDATE site_aside SET settled_at = :now, settled_by = :actor
 WHERE site_id = :site_id AND sha256 = :sha256 AND settled_at IS NULL;

-- file: src/ringroad/design/queries.sql
-- name: finding^
SELECT id, lap_id, programme_id, ecu, state, evidence, generation,
       EXISTS (SELECT FROM change c WHERE c.finding_id = finding.id) AS was_answered
  FROM finding WHERE id = :finding_id;

-- name: open_findings
SELECT id, lap_id, programme_id, ecu, state, evidence, generation,
       EXISTS (SELECT FROM change c WHERE c.finding_id = finding.id) AS was_answered
  FROM finding WHERE state = 'open' ORDER BY id LIMIT :rows_max;

-- name: accept_finding!
UPDATE finding SET state = 'accepted', state_reason = :reason, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state = 'open';

-- name: reject_finding!
UPDATE finding SET state = 'rejected', state_reason = :reason, closed_at = :now, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state IN ('open', 'accepted');

-- name: reject_proposed_changes
UPDATE change SET state = 'rejected', state_reason = :reason, generation = generation + 1
 WHERE finding_id = :finding_id AND state = 'proposed' RETURNING *;

-- name: has_ecu$
SELECT EXISTS (SELECT 1 FROM programme WHERE id = :programme_id AND document->'ecus' ? :ecu);

-- name: lock_finding$
SELECT generation FROM finding WHERE id = :finding_id FOR UPDATE;

-- name: count_changes$
SELECT count(*) FROM change WHERE finding_id = :finding_id;

-- name: insert_change!
INSERT INTO change (id, finding_id, lap_id, title, ecu, target, state, proposed_by, proposed_at)
VALUES (:id, :finding_id, :lap_id, :title, :ecu, :target, 'proposed', :proposed_by, :proposed_at);

-- name: approve_change!
UPDATE change SET state = 'approved', approved_by = :actor, approved_at = :now, generation = generation + 1
 WHERE id = :change_id AND generation = :generation AND state = 'proposed';

-- name: reject_change!
UPDATE change SET state = 'rejected', state_reason = :reason, generation = generation + 1
 WHERE id = :change_id AND generation = :generation AND state IN ('proposed', 'approved');

-- name: change^
SELECT * FROM change WHERE id = :change_id;

-- name: changes
SELECT * FROM change
 WHERE (:state::text IS NULL OR state = :state) AND (:finding_id::text IS NULL OR finding_id = :finding_id)
   AND (:before_id::text IS NULL OR id < :before_id)
 ORDER BY id DESC LIMIT :rows_max;

-- file: src/ringroad/http/device/queries.sql
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

-- file: src/ringroad/http/queries.sql
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
       CASE WHEN c.state IN ('running', 'paused') THEN (
            SELECT silent.event_at FROM (SELECT f.kind, f.event_at FROM fact f
                     WHERE f.subject = 'telemetry' AND f.kind IN ('telemetry.lost', 'telemetry.back')
                     ORDER BY f.seq DESC LIMIT 1) AS silent
             WHERE silent.kind = 'telemetry.lost' AND EXISTS (
                   SELECT 1 FROM campaign_plan p, jsonb_array_elements(p.document #> '{request,gate,sequential,metrics}') AS m
                    WHERE p.id = c.plan_id AND m ->> 'name' NOT IN ('install_failed', 'rolled_back'))) END AS telemetry_silent_since
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
       CASE WHEN c.state IN ('running', 'paused') THEN (
            SELECT silent.event_at FROM (SELECT f.kind, f.event_at FROM fact f
                     WHERE f.subject = 'telemetry' AND f.kind IN ('telemetry.lost', 'telemetry.back')
                     ORDER BY f.seq DESC LIMIT 1) AS silent
             WHERE silent.kind = 'telemetry.lost' AND EXISTS (
                   SELECT 1 FROM campaign_plan p, jsonb_array_elements(p.document #> '{request,gate,sequential,metrics}') AS m
                    WHERE p.id = c.plan_id AND m ->> 'name' NOT IN ('install_failed', 'rolled_back'))) END AS telemetry_silent_since
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

-- file: src/ringroad/publish/queries.sql
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

-- file: src/ringroad/ship/queries.sql
-- Reading ----------------------------------------------------------------------------------------
-- name: release_row^
SELECT r.id, r.programme_id, r.version, r.state, r.lap_id, r.document, r.downgrades, p.document AS programme_document
  FROM release r JOIN programme p ON p.id = r.programme_id
 WHERE r.id = :release_id;

-- name: signed_releases
SELECT r.id, r.programme_id, r.version, r.state, r.lap_id, r.document, r.downgrades, p.document AS programme_document
  FROM release r JOIN programme p ON p.id = r.programme_id
 WHERE r.programme_id = :programme_id AND r.state = 'signed' ORDER BY r.signed_at DESC LIMIT :rows_max;

-- name: deltas_to
SELECT ecu_class, from_sha256, to_sha256, algorithm, sha256, sha512, delta_bytes FROM image_delta
 WHERE to_sha256 = ANY (:to_sha256) AND state = 'ready';

-- name: programme_packages
SELECT id, ecu, version, filename, format, hardware_ids, image_sha256, image_sha512, image_bytes,
       release_counter, requires, conflicts, upgrades_from
  FROM software_package WHERE programme_id = :programme_id;

-- name: vehicle_facts
SELECT v.vin, v.programme_id, v.variant, v.region, v.gateway, v.release_id, v.blocked_reason, v.tags,
       v.attributes, v.born_at, e.ecus,
       is_shut_out(v.vin, v.certificates, v.certificates_after) AS shut_out,
       ARRAY(SELECT m.list_name FROM vehicle_list_member m WHERE m.vin = v.vin ORDER BY 1) AS lists
  FROM vehicle v
  LEFT JOIN LATERAL (
      SELECT json_object_agg(ecu.name, json_build_object(
                 'name', ecu.name, 'serial', ecu.serial, 'hardware_id', ecu.hardware_id,
                 'is_primary', ecu.is_primary, 'filename', i.filename, 'version', i.version,
                 'image_sha256', i.image_sha256))::text AS ecus
        FROM ecu LEFT JOIN ecu_installed i ON i.vin = ecu.vin AND i.serial = ecu.serial
       WHERE ecu.vin = v.vin AND ecu.removed_at IS NULL) e ON true
 WHERE (:programme_id::text IS NULL OR v.programme_id = :programme_id)
   AND (:vins::text[] IS NULL OR v.vin = ANY (:vins));

-- name: vocabulary^
SELECT ARRAY(SELECT id FROM programme) AS programmes,
       ARRAY(SELECT DISTINCT jsonb_object_keys(document -> 'variants') FROM programme
              WHERE jsonb_typeof(document -> 'variants') = 'object') AS variants,
       ARRAY(SELECT DISTINCT jsonb_object_keys(document -> 'ecus') FROM programme
              WHERE jsonb_typeof(document -> 'ecus') = 'object') AS ecus,
       ARRAY(SELECT DISTINCT region FROM vehicle) AS regions,
       ARRAY(SELECT DISTINCT unnest(tags) FROM vehicle) AS tags,
       ARRAY(SELECT name FROM vehicle_list) AS lists;

-- name: known_values^
WITH seen AS MATERIALIZED (SELECT region, tags, attributes FROM vehicle ORDER BY changed_seq DESC LIMIT :vehicles_max),
     usual AS (  -- what many vehicles have, by the statistics that the database keeps of all of them
       SELECT attname, most_common_vals::text::text[] AS vals, most_common_elems::text::text[] AS elems
         FROM pg_stats
        WHERE schemaname = current_schema() AND tablename = 'vehicle' AND attname IN ('region', 'tags'))
SELECT ARRAY(SELECT id FROM programme ORDER BY 1 LIMIT :rows_max) AS programme,
       ARRAY(SELECT DISTINCT jsonb_object_keys(document -> 'variants') FROM programme
              WHERE jsonb_typeof(document -> 'variants') = 'object' ORDER BY 1 LIMIT :rows_max) AS variant,
       ARRAY(SELECT DISTINCT jsonb_object_keys(document -> 'ecus') FROM programme
              WHERE jsonb_typeof(document -> 'ecus') = 'object' ORDER BY 1 LIMIT :rows_max) AS ecus,
       ARRAY(SELECT name FROM (SELECT region FROM seen UNION
                               SELECT unnest(vals) FROM usual WHERE attname = 'region') AS u (name)
              WHERE name <> '' ORDER BY 1 LIMIT :rows_max) AS region,
       ARRAY(SELECT unnest(tags) FROM seen WHERE tags <> '{}' UNION
             SELECT unnest(elems) FROM usual WHERE attname = 'tags' ORDER BY 1 LIMIT :rows_max) AS tag,
       ARRAY(SELECT name FROM vehicle_list ORDER BY 1 LIMIT :rows_max) AS list,
       ARRAY(SELECT id FROM release ORDER BY created_at DESC LIMIT :rows_max) AS release,
       ARRAY(SELECT DISTINCT jsonb_object_keys(attributes) FROM seen WHERE attributes <> '{}'
              ORDER BY 1 LIMIT :rows_max) AS attributes;

-- name: known_packages
SELECT ecu, array_agg(DISTINCT version) AS versions, array_agg(DISTINCT h.id) AS hardware
  FROM (SELECT ecu, version, hardware_ids FROM software_package ORDER BY added_at DESC LIMIT :rows_max) AS p
 CROSS JOIN LATERAL unnest(p.hardware_ids) AS h (id)
 GROUP BY ecu ORDER BY ecu;

-- name: busy_vehicles
SELECT c.id AS campaign_id, c.name, c.state AS campaign_state, busy.held, count(*) AS vehicles,
       (p.document -> 'request' ->> 'priority')::int AS priority,
       (p.document -> 'request' ->> 'recall')::boolean AS recall
  FROM (SELECT other.id AS campaign_id, a.vin, false AS held  -- from the others on: they are fewer than our vehicles
          FROM campaign other
          JOIN assignment a ON a.campaign_id = other.id AND a.state IN ('pending', 'offered', 'active', 'cancelling')
          JOIN campaign_target t ON t.plan_id = :plan_id AND t.vin = a.vin AND t.verdict = ANY (:verdicts)
         WHERE other.id <> :campaign_id AND other.state IN ('running', 'paused', 'halted', 'aborted', 'finished')
        UNION  -- a control group is held back from everybody while it is compared with
        SELECT other.id, o.vin, true
          FROM campaign other JOIN campaign_target o ON o.plan_id = other.plan_id AND o.verdict = 'control' AND o.let_go_at IS NULL
          JOIN campaign_target t ON t.plan_id = :plan_id AND t.vin = o.vin AND t.verdict = ANY (:verdicts)
         WHERE other.state IN ('running', 'paused') AND other.id <> :campaign_id) AS busy
  JOIN campaign c ON c.id = busy.campaign_id
  LEFT JOIN campaign_plan p ON p.id = c.plan_id
 GROUP BY c.id, c.name, c.state, busy.held, p.document;

-- name: skip_unknown$
SELECT count(*) FROM campaign_target t
  JOIN vehicle v ON v.vin = t.vin AND v.gateway = 'ddi' AND v.attributes ->> 'honours_skip' IS DISTINCT FROM 'true'
 WHERE t.plan_id = :plan_id AND t.verdict = 'match';

-- name: unheard_planned^
-- Who was heard of before contacts were kept left a report or a manifest, or is not known.
SELECT (SELECT count(*) FROM campaign_target t
         WHERE t.plan_id = :plan_id AND t.verdict = 'match'
           AND NOT EXISTS (SELECT FROM vehicle_contact c WHERE c.vin = t.vin)
           AND NOT EXISTS (SELECT FROM device_report d WHERE d.vin = t.vin)
           AND NOT EXISTS (SELECT FROM vehicle_manifest m WHERE m.vin = t.vin)) AS never,
       (SELECT count(*) FROM campaign_target t JOIN vehicle_contact c ON c.vin = t.vin
         WHERE t.plan_id = :plan_id AND t.verdict = 'match' AND c.heard_at < :before) AS long_ago;

-- name: own_hours_planned
SELECT v.schedule - 'put_off_since' AS schedule, count(*) AS vehicles FROM vehicle v
  JOIN campaign_target t ON t.plan_id = :plan_id AND t.vin = v.vin AND t.verdict = 'match'
 WHERE v.schedule IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT :rows_max;

-- name: plan_each_time#
-- A plan kept for any vehicles is one for all of them.
SET plan_cache_mode = force_custom_plan;

-- name: change_number$
SELECT last_value FROM gateway_change;

-- name: changed_vins
SELECT vin FROM vehicle WHERE changed_seq > :after_seq
 UNION SELECT vin FROM assignment WHERE changed_seq > :after_seq LIMIT :rows_max;

-- name: running_levels
SELECT c.id AS campaign_id, (p.document -> 'request' ->> 'priority')::int AS priority,
       (p.document -> 'request' ->> 'recall')::boolean AS recall
  FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id
 WHERE c.state = 'running';

-- name: open_recalls
SELECT c.id FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id
 WHERE c.state IN ('running', 'paused') AND (p.document -> 'request' ->> 'recall')::boolean ORDER BY c.id;

-- name: set_time_zone!
UPDATE vehicle SET attributes = attributes || jsonb_build_object('time_zone', :time_zone::text),
       generation = generation + 1
 WHERE vin = ANY (:vins) AND attributes ->> 'time_zone' IS DISTINCT FROM :time_zone;

-- name: campaign^
SELECT id, name, release_id, lap_id, state, state_reason, state_at, wave, plan_id, generation, created_by,
       created_at, finished_at
  FROM campaign WHERE id = :campaign_id;

-- name: campaigns
SELECT id, name, release_id, lap_id, state, state_reason, state_at, wave, plan_id, generation, created_by,
       created_at, finished_at
  FROM campaign
 WHERE (:states::text[] IS NULL OR state = ANY (:states)) AND id < coalesce(:before_id, 'd')
 ORDER BY id DESC LIMIT :rows_max;

-- name: plan^
SELECT * FROM campaign_plan WHERE id = :plan_id;

-- name: plan_targets
SELECT vin, verdict, reason, wave FROM campaign_target
 WHERE plan_id = :plan_id AND (:verdict::text IS NULL OR verdict = :verdict) AND vin > :after_vin
 ORDER BY vin LIMIT :rows_max;

-- name: plan_of_generation$
SELECT id FROM campaign_plan
 WHERE campaign_id = :campaign_id AND (:generation::int IS NULL OR generation = :generation)
 ORDER BY generation DESC LIMIT 1;

-- name: target_changes
WITH place AS (
    SELECT plan_id, vin, CASE verdict WHEN 'match' THEN 'wave ' || wave ELSE verdict END AS place
      FROM campaign_target
     WHERE plan_id IN (:older_id, :newer_id) AND (rank > 0 OR verdict NOT IN ('match', 'control'))),
moved AS (
    SELECT coalesce(o.vin, n.vin) AS vin, o.place AS before, n.place AS after,
           row_number() OVER (PARTITION BY o.place, n.place ORDER BY coalesce(o.vin, n.vin)) AS number
      FROM (SELECT vin, place FROM place WHERE plan_id = :older_id) AS o
      FULL JOIN (SELECT vin, place FROM place WHERE plan_id = :newer_id) AS n ON n.vin = o.vin
     WHERE o.place IS DISTINCT FROM n.place)
SELECT before, after, count(*) AS vehicles,
       array_agg(vin ORDER BY vin) FILTER (WHERE number <= :examples_max) AS examples
  FROM moved GROUP BY before, after;

-- name: campaign_assignments
SELECT action_id, campaign_id, vin, wave, kind, state, state_detail, released_at, offered_at, deadline_at,
       began_at, last_report_at, finished_at, release_id, previous_release_id, attempt, not_before
  FROM assignment
 WHERE campaign_id = :campaign_id AND (:state::text IS NULL OR state = :state) AND vin > :after_vin
 ORDER BY vin, kind LIMIT :rows_max;

-- name: wave_counts
-- From the counts that the database keeps; what they do not tell is looked up by an index.
SELECT wave, sum(vehicles)::bigint AS targeted,
       coalesce(sum(vehicles) FILTER (WHERE state = 'installed'), 0)::bigint AS installed,
       coalesce(sum(vehicles) FILTER (WHERE state = 'downloaded'), 0)::bigint AS downloaded,
       coalesce(sum(vehicles) FILTER (WHERE state = 'failed'), 0)::bigint AS failed,
       coalesce(sum(vehicles) FILTER (WHERE state = 'rolled_back'), 0)::bigint AS rolled_back,
       max(began.vehicles_lost) AS lost,
       coalesce(sum(vehicles) FILTER (WHERE state = 'expired'), 0)::bigint - max(began.vehicles_lost) AS silent,
       coalesce(sum(vehicles) FILTER (WHERE state = 'cancelled'), 0)::bigint AS cancelled,
       coalesce(sum(vehicles) FILTER (WHERE state = 'pending'), 0)::bigint AS pending,
       coalesce(sum(vehicles) FILTER (WHERE state IN ('active', 'cancelling')), 0)::bigint AS active,
       max(newest_report_at) AS newest_report_at, max(ended.finished_at) AS newest_outcome_at
  FROM (SELECT wave, state, sum(vehicles) AS vehicles, max(newest_report_at) AS newest_report_at FROM campaign_tally
         WHERE campaign_id = :campaign_id AND kind = 'update' AND minute = '-infinity' GROUP BY wave, state) AS kept
 CROSS JOIN LATERAL (
       SELECT count(*) AS vehicles_lost FROM assignment a
        WHERE a.campaign_id = :campaign_id AND a.wave = kept.wave AND a.state = 'expired' AND a.kind = 'update'
          AND a.began_at IS NOT NULL AND kept.state = 'expired') AS began
  LEFT JOIN LATERAL (
       SELECT a.finished_at FROM assignment a
        WHERE a.campaign_id = :campaign_id AND a.wave = kept.wave AND a.kind = 'update' AND a.finished_at IS NOT NULL
        ORDER BY a.finished_at DESC LIMIT 1) AS ended ON true
 GROUP BY wave HAVING sum(vehicles) > 0 ORDER BY wave;

-- name: nth_outcome_at$
SELECT finished_at FROM assignment
 WHERE campaign_id = :campaign_id AND wave = :wave AND kind = 'update' AND finished_at IS NOT NULL
   AND (state IN ('installed', 'downloaded', 'failed', 'rolled_back') OR state = 'expired' AND began_at IS NOT NULL)
 ORDER BY finished_at LIMIT 1 OFFSET :skip;

-- name: say_planning$
SELECT set_config('application_name', :text, true);

-- name: planning^
SELECT application_name, extract(epoch FROM clock_timestamp() - xact_start)::int AS running_s FROM pg_stat_activity
 WHERE starts_with(application_name, :prefix) AND datname = current_database() AND xact_start IS NOT NULL
 ORDER BY xact_start DESC LIMIT 1;

-- Plans over many vehicles -----------------------------------------------------------------------
-- name: plan_with_memory#
SET LOCAL work_mem = '64MB';  -- sorts of a million VINs; for this transaction alone

-- name: make_planned#
CREATE TEMP TABLE IF NOT EXISTS planned_sample (vin text PRIMARY KEY, mark text NOT NULL);

-- name: fill_planned!
CREATE TEMP TABLE planned_vehicle AS  -- not INSERT, which reads with one process only
SELECT v.vin, sha256(convert_to(ROW (
           v.programme_id, v.variant, v.region, v.gateway, v.blocked_reason, e.ecus, l.names, s.mark,
           is_shut_out(v.vin, v.certificates, v.certificates_after),
           CASE WHEN v.vin = ANY (:vins) THEN v.vin END,
           CASE WHEN cardinality(:vin_patterns::text[]) > 0 THEN
               ARRAY(SELECT p FROM unnest(:vin_patterns::text[]) AS p WHERE v.vin LIKE p) END,
           CASE WHEN cardinality(v.tags) > 0 AND cardinality(:tags::text[] || :tag_patterns::text[]) > 0 THEN
               nullif(ARRAY(SELECT t FROM unnest(v.tags) AS t
                             WHERE t = ANY (:tags::text[]) OR t LIKE ANY (:tag_patterns::text[]) ORDER BY 1), '{}') END,
           CASE WHEN :release THEN v.release_id END,
           CASE WHEN :born THEN v.born_at::date END,
           CASE WHEN cardinality(:attributes::text[]) > 0 THEN
               (SELECT jsonb_object_agg(name, v.attributes -> name) FROM unnest(:attributes::text[]) AS name) END
       )::text, 'UTF8')) AS kind,  -- a record as text tells any two records apart
       v.config_generation
  FROM vehicle v
  LEFT JOIN (SELECT ecu.vin,
                    string_agg(ROW (ecu.name, ecu.hardware_id, i.version,
                                   CASE WHEN :whole OR :images THEN i.image_sha256 END,
                                   CASE WHEN :filenames THEN i.filename END,
                                   CASE WHEN ecu.serial = ANY (:serials) THEN ecu.serial END,
                                   CASE WHEN cardinality(:serial_patterns::text[]) > 0 THEN
                                       ARRAY(SELECT p FROM unnest(:serial_patterns::text[]) AS p WHERE ecu.serial LIKE p)
                                   END)::text, '' ORDER BY ecu.name)
                        AS ecus
               FROM ecu LEFT JOIN ecu_installed i ON i.vin = ecu.vin AND i.serial = ecu.serial
              WHERE ecu.removed_at IS NULL AND (:whole OR cardinality(:ecus::text[]) > 0)
                AND (:whole OR ecu.name = ANY (:ecus))
              GROUP BY ecu.vin) AS e ON e.vin = v.vin
  LEFT JOIN (SELECT m.vin, array_agg(m.list_name ORDER BY m.list_name) AS names
               FROM vehicle_list_member m
              WHERE m.list_name = ANY (:lists) OR m.list_name LIKE ANY (:list_patterns::text[])
              GROUP BY m.vin) AS l ON l.vin = v.vin
  LEFT JOIN planned_sample s ON s.vin = v.vin
 WHERE :programme_id::text IS NULL OR v.programme_id = :programme_id;

-- name: measure_planned#
ANALYZE planned_vehicle;

-- name: planned_populations
SELECT kind, count(*) AS vehicles, min(vin) AS vin FROM planned_vehicle GROUP BY kind;

-- name: planned_examples
SELECT vin FROM planned_vehicle ORDER BY vin LIMIT :rows_max;

-- name: planned_of
SELECT vin FROM planned_vehicle WHERE kind = ANY (:kinds::bytea[]) ORDER BY vin;

-- name: deal_lot!
INSERT INTO campaign_target (plan_id, vin, verdict, reason, wave, rank, resolution, config_generation)
SELECT :plan_id, vin, verdict, reason, wave, rank, resolution, config_generation
  FROM (SELECT vin, CASE WHEN rank <= :held THEN 'control' ELSE 'match' END AS verdict, reason,
               width_bucket(rank, :starts::bigint[]) AS wave, rank, resolution, config_generation
          FROM (SELECT vin, reason, number AS resolution, config_generation,
                       row_number() OVER (ORDER BY (2 * place - 1)::float8 / (2 * size), digest, vin) AS rank
                  FROM (SELECT vin, digest, reason, number, size, config_generation,
                               row_number() OVER (PARTITION BY stratum ORDER BY digest, vin) AS place
                          FROM (SELECT p.vin, p.config_generation, r.stratum, r.reason, r.number, r.size,
                                       sha256(convert_to(:seed || ':' || p.vin, 'UTF8')) AS digest
                                  FROM planned_vehicle p
                                  JOIN (SELECT kind, stratum, reason, number,
                                               sum(vehicles) OVER (PARTITION BY stratum) AS size
                                          FROM campaign_resolution
                                         WHERE plan_id = :plan_id AND verdict = 'match') AS r ON r.kind = p.kind
                               ) AS hashed) AS placed) AS lot
        UNION ALL
        SELECT p.vin, r.verdict, r.reason, 0, 0, r.number, p.config_generation
          FROM planned_vehicle p JOIN campaign_resolution r ON r.plan_id = :plan_id AND r.kind = p.kind
         WHERE r.verdict <> 'match') AS dealt
 ORDER BY vin;

-- name: drop_planned#
DROP TABLE planned_vehicle, planned_sample;

-- name: measure_targets#
ANALYZE campaign_target;

-- name: dealt
SELECT verdict, wave, count(*) AS vehicles,
       count(*) FILTER (WHERE (verdict = 'match') <> (wave > 0) OR (verdict IN ('match', 'control')) <> (rank > 0))
           AS strangers
  FROM campaign_target WHERE plan_id = :plan_id GROUP BY verdict, wave;

-- name: dealt_places$
SELECT count(DISTINCT rank) FROM campaign_target WHERE plan_id = :plan_id AND rank > 0;

-- name: lock_running^
SELECT wave FROM campaign WHERE id = :campaign_id AND plan_id = :plan_id AND state = 'running' FOR SHARE;

-- name: keep_running
SELECT id FROM campaign WHERE id = ANY (:campaign_ids) AND state = 'running'
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: hold_campaign$
SELECT id FROM campaign WHERE id = :campaign_id FOR NO KEY UPDATE;

-- name: try_hold_campaign$
SELECT id FROM campaign WHERE id = :campaign_id AND generation = coalesce(:generation, generation)
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: join_candidates
SELECT vin, changed_seq FROM vehicle
 WHERE changed_seq > :after_seq AND programme_id = :programme_id ORDER BY changed_seq LIMIT :rows_max;

-- name: not_planned
SELECT given.vin FROM unnest(:vins::text[]) AS given (vin)
 WHERE NOT EXISTS (SELECT FROM campaign_target t WHERE t.plan_id = :plan_id AND t.vin = given.vin);

-- name: not_busy
SELECT given.vin, v.config_generation FROM unnest(:vins::text[]) AS given (vin) JOIN vehicle v ON v.vin = given.vin
 WHERE NOT EXISTS (SELECT FROM assignment a
                    WHERE a.vin = given.vin AND a.state IN ('pending', 'offered', 'active', 'cancelling'))
   AND NOT EXISTS (SELECT FROM campaign c JOIN campaign_target o ON o.plan_id = c.plan_id AND o.vin = given.vin
                    WHERE o.verdict = 'control' AND o.let_go_at IS NULL AND c.state IN ('running', 'paused'));

-- name: part_bounds
SELECT r.stratum, t.wave, max(encode(sha256(convert_to(:seed || ':' || t.vin, 'UTF8')), 'hex') COLLATE "C") AS last
  FROM campaign_target t JOIN campaign_resolution r ON r.plan_id = t.plan_id AND r.number = t.resolution
 WHERE t.plan_id = :plan_id AND t.rank > 0
 GROUP BY r.stratum, t.wave;

-- name: insert_joined!
INSERT INTO campaign_target (plan_id, vin, verdict, reason, wave, rank, resolution, config_generation, joined_at)
SELECT :plan_id, m.vin, m.verdict, 'joined', m.wave, 0, 0, m.config_generation, :now
  FROM unnest(:vins::text[], :verdicts::text[], :waves::int[], :config_generations::int[])
       AS m (vin, verdict, wave, config_generation);

-- name: assign_joined$
-- The number is the one read before the vehicle was resolved: whoever changed meanwhile is judged again.
WITH made AS (
INSERT INTO assignment (campaign_id, vin, wave, previous_release_id, config_generation, released_at)
SELECT :campaign_id, m.vin, m.wave, v.release_id, m.config_generation,
       CASE WHEN m.wave <= :released THEN :now::timestamptz END
  FROM unnest(:vins::text[], :waves::int[], :config_generations::int[]) AS m (vin, wave, config_generation)
  JOIN vehicle v ON v.vin = m.vin
 ORDER BY m.wave, m.vin
RETURNING action_id)
SELECT array_agg(action_id) FROM made;

-- name: targets_as_text
COPY (SELECT vin, verdict, reason, wave, rank, resolution FROM campaign_target
       WHERE plan_id = :plan_id AND (rank > 0 OR verdict NOT IN ('match', 'control')) ORDER BY vin)
TO STDOUT;

-- Campaigns --------------------------------------------------------------------------------------
-- name: insert_campaign!
INSERT INTO campaign (id, name, release_id, lap_id, state, state_at, created_by, created_at)
VALUES (:id, :name, :release_id, :lap_id, 'draft', :now, :actor, :now);

-- name: insert_plan!
INSERT INTO campaign_plan (id, campaign_id, generation, parent_id, document, findings, made_by, made_at)
SELECT :id, :campaign_id, 1 + count(*), :parent_id, :document, :findings, :actor, :now
  FROM campaign_plan WHERE campaign_id = :campaign_id;

-- name: make_plan_current!
UPDATE campaign SET plan_id = :plan_id, state = CASE WHEN :plan_id::text IS NULL THEN 'draft' ELSE 'planned' END,
       state_reason = :reason, state_at = :now, generation = generation + 1
 WHERE id = :campaign_id AND generation = :generation AND state IN ('draft', 'planned', 'approved');

-- name: move_campaign!
UPDATE campaign SET state = :state, state_reason = :reason, state_at = :now, generation = generation + 1,
       finished_at = CASE WHEN :state = 'finished' THEN :now ELSE finished_at END
 WHERE id = :campaign_id AND generation = :generation AND state = ANY (:from_states);

-- name: release_state$
SELECT state FROM release WHERE id = :release_id FOR SHARE;

-- name: hold_harm$
SELECT pg_advisory_xact_lock(:lock_class, hashtext(:release_id));

-- name: keep_harm$
SELECT pg_advisory_xact_lock_shared(:lock_class, hashtext(:release_id));

-- name: aborted_without_harm
SELECT c.id FROM campaign c
 WHERE c.release_id = :release_id AND c.state = 'aborted' AND c.wave > 0 AND c.plan_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM fact f WHERE f.subject = c.id AND f.kind = 'campaign.aborted' AND f.body ? 'harm')
 ORDER BY c.state_at DESC NULLS LAST, c.id LIMIT :rows_max;

-- name: harm_of_release
-- Who aborts a campaign whose gate saw harm only comes before it. Not the halts that only followed the withdrawal of
-- the release: those say nothing of the software.
SELECT c.id AS campaign_id, c.name, harm.reason, c.state_at AS at, c.state = 'aborted' AS aborted
  FROM campaign c
 CROSS JOIN LATERAL (SELECT CASE c.state WHEN 'halted' THEN c.state_reason ELSE
                       (SELECT f.body ->> 'harm' FROM fact f WHERE f.subject = c.id AND f.kind = 'campaign.aborted'
                         ORDER BY f.seq DESC LIMIT 1) END AS reason) AS harm
 WHERE c.release_id = :release_id AND c.state IN ('halted', 'aborted') AND harm.reason <> 'release_withdrawn'
 ORDER BY c.state_at DESC NULLS LAST, c.id LIMIT :rows_max;

-- name: lock_start$
SELECT pg_advisory_xact_lock(:key);

-- name: offline_expiries
SELECT DISTINCT ON (repository, role) repository, role, expires_at FROM repository_metadata
 WHERE vin = '' AND (role = 'root' OR role = 'targets' AND repository = 'image')
 ORDER BY repository, role, version DESC;

-- name: certificates_ending$
SELECT count(*) FROM vehicle v
  JOIN campaign_target t ON t.vin = v.vin AND t.plan_id = :plan_id AND t.verdict = 'match'
 WHERE v.certificate_until <= :before;

-- name: approve_plan!
UPDATE campaign_plan SET approved_by = :actor, approved_at = :now
 WHERE id = :plan_id AND campaign_id = :campaign_id;

-- name: insert_steps!
INSERT INTO assignment (campaign_id, vin, wave, kind, step, release_id, previous_release_id, config_generation)
SELECT :campaign_id, t.vin, t.wave, 'step', at, r.steps[at], CASE WHEN at = 1 THEN v.release_id ELSE r.steps[at - 1] END,
       t.config_generation
  FROM campaign_resolution r
  JOIN campaign_target t ON t.plan_id = r.plan_id AND t.resolution = r.number AND t.verdict = 'match'
  JOIN vehicle v ON v.vin = t.vin
 CROSS JOIN LATERAL generate_series(1, cardinality(r.steps) - 1) AS at
 WHERE r.plan_id = :plan_id AND cardinality(r.steps) > 1
 ORDER BY t.wave, t.rank, t.vin, at;

-- name: measure_assignments#
-- Where a campaign filled the table faster than autovacuum looks: else each round reads all of it until then.
ANALYZE assignment;

-- name: insert_assignments!
INSERT INTO assignment (action_id, campaign_id, vin, wave, step, previous_release_id, config_generation) OVERRIDING SYSTEM VALUE
SELECT lot.action_id, :campaign_id, lot.vin, lot.wave, lot.step, coalesce(lot.after, v.release_id), lot.config_generation
  FROM (SELECT vin, wave, step, after, config_generation,
               nextval('assignment_action_id_seq') AS action_id  -- in the order of the lot
          FROM (SELECT t.vin, t.wave, t.config_generation, r.after, CASE WHEN r.steps > 1 THEN r.steps ELSE 0 END AS step
                  FROM campaign_target t
                  LEFT JOIN (SELECT number, cardinality(steps) AS steps, steps[cardinality(steps) - 1] AS after
                               FROM campaign_resolution WHERE plan_id = :plan_id) AS r ON r.number = t.resolution
                 WHERE t.plan_id = :plan_id AND t.verdict = 'match'
                 ORDER BY t.rank, t.vin) AS ordered) AS lot
  JOIN vehicle v ON v.vin = lot.vin
 ORDER BY lot.vin;  -- as the indexes lie: a million rows in the order of the lot take several times as long

-- name: set_wave!
UPDATE campaign SET wave = :wave, generation = generation + 1
 WHERE id = :campaign_id AND generation = :generation AND state = 'running' AND wave = :wave - 1;

-- name: touch_running!
UPDATE campaign SET generation = generation + 1
 WHERE id = :campaign_id AND generation = :generation AND state = 'running';

-- name: release_some!
-- Without those that their fleets put off until after the deadline they would have: these begin nothing, and would fill the
-- budget until then.
UPDATE assignment SET released_at = :now, generation = generation + 1
 WHERE action_id IN (SELECT a.action_id FROM assignment a JOIN vehicle v ON v.vin = a.vin
                      WHERE a.campaign_id = :campaign_id AND a.wave = :wave AND a.kind = 'update'
                        AND a.state = 'pending' AND a.released_at IS NULL
                        AND NOT coalesce((v.schedule ->> 'not_before')::timestamptz > :until::timestamptz, false)
                      ORDER BY a.action_id LIMIT :vehicles);

-- name: let_go_put_off$
-- Once nobody else is left: those that `release_some` leaves out.
WITH moved AS (
UPDATE assignment a
   SET state = 'cancelled', state_detail = 'put off by its fleet until after its deadline', finished_at = :now,
       generation = a.generation + 1
  FROM vehicle v
 WHERE a.campaign_id = :campaign_id AND a.wave = :wave AND a.kind = 'update' AND a.state = 'pending'
   AND a.released_at IS NULL AND v.vin = a.vin
   AND coalesce((v.schedule ->> 'not_before')::timestamptz > :until::timestamptz, false)
RETURNING a.action_id)
SELECT array_agg(action_id) FROM moved;

-- name: release_wave!
UPDATE assignment SET released_at = :now, generation = generation + 1
 WHERE campaign_id = :campaign_id AND wave = :wave AND state = 'pending' AND released_at IS NULL;

-- name: released_vehicles$
SELECT count(*) FROM assignment
 WHERE campaign_id = :campaign_id AND wave = :wave AND kind = 'update' AND released_at IS NOT NULL;

-- name: release_and_offer_ddi$
WITH moved AS (
UPDATE assignment a
   SET released_at = :now, state = 'offered', offered_at = :now, generation = a.generation + 1,
       deadline_at = :now::timestamptz + make_interval(secs => :deadline_s)
  FROM vehicle v
 WHERE a.campaign_id = :campaign_id AND a.wave = :wave AND a.state = 'pending' AND a.released_at IS NULL
   AND v.vin = a.vin AND v.gateway = 'ddi'
   AND CASE WHEN a.step > 1  -- what its way led it to
                 THEN v.release_id IS NOT DISTINCT FROM a.previous_release_id AND v.blocked_reason IS NULL
            ELSE v.config_generation = a.config_generation END
   AND NOT EXISTS (SELECT 1 FROM assignment o
                    WHERE o.vin = a.vin AND o.state IN ('offered', 'active', 'cancelling') OFFSET 0)
   AND NOT EXISTS (SELECT 1 FROM assignment h
                    WHERE h.campaign_id = ANY (:higher) AND h.vin = a.vin AND h.kind = 'update' AND h.state = 'pending'
                      AND (h.campaign_id = ANY (:recalls)
                           OR h.released_at IS NOT NULL AND coalesce(h.not_before, :now) <= :now) OFFSET 0)
   AND (a.step <= 1 OR NOT EXISTS (SELECT 1 FROM assignment s
                                    WHERE s.campaign_id = a.campaign_id AND s.vin = a.vin AND s.kind = 'step'
                                      AND s.step < a.step AND s.state <> 'installed'))
RETURNING a.action_id)
SELECT array_agg(action_id) FROM moved;

-- name: offer_ddi$
WITH moved AS (
UPDATE assignment a
   SET state = 'offered', offered_at = :now, generation = a.generation + 1,
       state_detail = CASE WHEN starts_with(a.state_detail, 'gave way to ') THEN '' ELSE a.state_detail END,
       deadline_at = :now::timestamptz + make_interval(secs => :deadline_s)
  FROM vehicle v
 WHERE a.campaign_id = :campaign_id AND a.state = 'pending' AND a.released_at IS NOT NULL
   AND (:vins::text[] IS NULL OR a.vin = ANY (:vins))
   AND coalesce(a.not_before, :now) <= :now AND v.vin = a.vin AND v.gateway = 'ddi'
   AND CASE WHEN a.step > 1  -- what its way led it to
                 THEN v.release_id IS NOT DISTINCT FROM a.previous_release_id AND v.blocked_reason IS NULL
            ELSE v.config_generation = a.config_generation END
   AND NOT EXISTS (SELECT 1 FROM assignment o
                    WHERE o.vin = a.vin AND o.state IN ('offered', 'active', 'cancelling') OFFSET 0)
   AND NOT EXISTS (SELECT 1 FROM assignment h
                    WHERE h.campaign_id = ANY (:higher) AND h.vin = a.vin AND h.kind = 'update' AND h.state = 'pending'
                      AND (h.campaign_id = ANY (:recalls)
                           OR h.released_at IS NOT NULL AND coalesce(h.not_before, :now) <= :now) OFFSET 0)
   AND (a.step <= 1 OR NOT EXISTS (SELECT 1 FROM assignment s
                                    WHERE s.campaign_id = a.campaign_id AND s.vin = a.vin AND s.kind = 'step'
                                      AND s.step < a.step AND s.state <> 'installed'))
RETURNING a.action_id)
SELECT array_agg(action_id) FROM moved;

-- name: preempt_offers
-- What waits at vehicles of a recall gives way, also where their wave is to come. What was begun does not. A device that
-- was handed an image out whole may have begun: it is told to cancel, and gives way by its answer.
UPDATE assignment a
   SET state = CASE WHEN given.whole THEN 'cancelling' ELSE 'pending' END,
       deadline_at = CASE WHEN given.whole THEN a.deadline_at END, generation = a.generation + 1,
       state_detail = 'gave way to the emergency recall ' || given.name
  FROM (SELECT o.action_id, r.name, EXISTS (SELECT FROM device_report d
                                             WHERE d.vin = o.vin AND d.action_id = o.action_id AND d.kind = 'fetched') AS whole
          FROM assignment u JOIN campaign r ON r.id = u.campaign_id
          JOIN assignment o ON o.vin = u.vin
         WHERE u.campaign_id = :campaign_id AND u.kind = 'update' AND u.state = 'pending'
           AND (:vins::text[] IS NULL OR u.vin = ANY (:vins))
           AND o.campaign_id = ANY (:lower) AND o.kind <> 'rollback' AND o.state = 'offered'
           AND o.began_at IS NULL AND o.last_report_at IS NULL
           AND NOT EXISTS (SELECT FROM device_report d
                            WHERE d.vin = o.vin AND d.action_id = o.action_id AND d.applied_at IS NULL)
           FOR UPDATE OF o SKIP LOCKED) AS given
 WHERE a.action_id = given.action_id AND a.state = 'offered' AND a.began_at IS NULL AND a.last_report_at IS NULL
RETURNING a.action_id, a.campaign_id, a.state;

-- name: moved_on
-- Waiting vehicles of which something else is known than when they were chosen.
SELECT a.action_id, a.vin, a.kind, a.step, v.release_id, v.config_generation,
       CASE WHEN a.kind = 'step' THEN ARRAY(SELECT s.release_id FROM assignment s
                                             WHERE s.campaign_id = a.campaign_id AND s.vin = a.vin AND s.kind = 'step'
                                             ORDER BY s.step) ELSE '{}' END AS way
  FROM assignment a JOIN vehicle v ON v.vin = a.vin
 WHERE a.campaign_id = :campaign_id AND a.kind <> 'rollback' AND a.state = 'pending' AND a.released_at IS NOT NULL
   AND (:vins::text[] IS NULL OR a.vin = ANY (:vins))
   AND CASE WHEN a.step > 1 THEN v.release_id IS DISTINCT FROM a.previous_release_id OR v.blocked_reason IS NOT NULL
            ELSE v.config_generation IS DISTINCT FROM a.config_generation END
   AND (a.step <= 1 OR NOT EXISTS (SELECT 1 FROM assignment s
                                    WHERE s.campaign_id = a.campaign_id AND s.vin = a.vin AND s.kind = 'step'
                                      AND s.step < a.step AND s.state <> 'installed'))
 ORDER BY a.action_id LIMIT :rows_max FOR UPDATE OF a SKIP LOCKED;

-- name: choose_again!
UPDATE assignment a SET previous_release_id = m.release_id, config_generation = m.config_generation,
       generation = a.generation + 1
  FROM unnest(:action_ids::int[], :release_ids::text[], :config_generations::int[])
       AS m (action_id, release_id, config_generation)
 WHERE a.action_id = m.action_id;

-- name: let_go!
UPDATE assignment a SET state = 'cancelled', state_detail = m.reason, finished_at = :now, generation = a.generation + 1
  FROM unnest(:action_ids::int[], :reasons::text[]) AS m (action_id, reason)
 WHERE a.action_id = m.action_id;

-- name: changed_elsewhere
-- ECUs whose newest manifest shows an image that no package of the programme holds, and that ran before what one holds;
-- none of a vehicle whose last update that began did not end installed: that may have left it there. One whose deadline
-- passed may have begun: what tells of it after that is not folded in any more.
SELECT e.vin, e.name, e.serial
  FROM ecu e
  JOIN vehicle v ON v.vin = e.vin
  JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
 WHERE e.vin = ANY (:vins::text[]) AND e.removed_at IS NULL AND i.filename = :unlisted
   AND NOT EXISTS (SELECT FROM software_package p
                    WHERE p.programme_id = v.programme_id AND p.image_sha256 = i.image_sha256)
   AND EXISTS (SELECT FROM ecu_replaced w
                 JOIN software_package p ON p.programme_id = v.programme_id AND p.ecu = e.name
                                        AND p.image_sha256 = w.image_sha256
                WHERE w.vin = i.vin AND w.serial = i.serial)
   AND coalesce((SELECT a.state = 'installed' FROM assignment a
                  WHERE a.vin = e.vin AND (a.began_at IS NOT NULL OR a.state = 'expired')
                  ORDER BY coalesce(a.began_at, a.finished_at) DESC, a.action_id DESC LIMIT 1), true)
 ORDER BY e.vin, e.name;

-- name: let_go_verdicts
SELECT let_go.verdict, sum(let_go.vehicles::int)::int AS vehicles
  FROM fact f CROSS JOIN LATERAL jsonb_each_text(f.body -> 'verdicts') AS let_go (verdict, vehicles)
 WHERE f.subject = :campaign_id AND f.kind = 'vehicles.cancelled' AND jsonb_typeof(f.body -> 'verdicts') = 'object'
 GROUP BY let_go.verdict ORDER BY vehicles DESC, let_go.verdict LIMIT :rows_max;

-- name: withhold_offers$
WITH moved AS (
UPDATE assignment SET state = 'pending', deadline_at = NULL, generation = generation + 1
 WHERE campaign_id = :campaign_id AND state = 'offered'
RETURNING action_id)
SELECT array_agg(action_id) FROM moved;

-- name: extend_deadlines!
UPDATE assignment SET deadline_at = deadline_at + make_interval(secs => :seconds), generation = generation + 1
 WHERE campaign_id = :campaign_id AND state IN ('offered', 'active', 'cancelling') AND deadline_at IS NOT NULL;

-- name: cancel_pending$
WITH moved AS (
UPDATE assignment a
   SET state = 'cancelled', state_detail = :reason, finished_at = :now, generation = a.generation + 1
 WHERE a.campaign_id = :campaign_id AND a.kind <> 'rollback' AND a.state = 'pending'
   AND (a.offered_at IS NULL  -- or it gave way to what the vehicle is told now
        OR EXISTS (SELECT FROM assignment o WHERE o.vin = a.vin AND o.state IN ('offered', 'active', 'cancelling')))
RETURNING a.action_id)
SELECT array_agg(action_id) FROM moved;

-- name: cancel_open$
WITH moved AS (
UPDATE assignment SET state = 'cancelling', state_detail = :reason, generation = generation + 1,
       deadline_at = coalesce(deadline_at, :now::timestamptz + make_interval(secs => :deadline_s))
 WHERE campaign_id = :campaign_id
   AND (state IN ('offered', 'active') OR state = 'pending' AND offered_at IS NOT NULL)
RETURNING action_id)
SELECT array_agg(action_id) FROM moved;

-- name: fail_withdrawn_steps
UPDATE assignment a
   SET state = 'failed', finished_at = :now, generation = a.generation + 1,
       state_detail = 'release ' || r.version || ' is not signed any more'
  FROM release r
 WHERE r.id = a.release_id AND r.state <> 'signed'
   AND a.action_id IN (SELECT action_id FROM assignment
                        WHERE step > 0 AND kind = 'step' AND state = 'pending'
                        ORDER BY action_id LIMIT :rows_max FOR UPDATE SKIP LOCKED)
RETURNING a.action_id, a.campaign_id, a.vin, a.wave, a.kind, a.state, a.state_detail,
          (SELECT lap_id FROM campaign c WHERE c.id = a.campaign_id) AS lap_id;

-- name: close_behind_steps
UPDATE assignment a
   SET state = broken.state, finished_at = :now, began_at = broken.began_at, last_report_at = broken.last_report_at,
       generation = a.generation + 1, state_detail = 'step to ' || broken.version || ': ' || broken.state_detail
  FROM (SELECT later.action_id, s.state, s.state_detail, s.began_at, s.last_report_at, r.version, c.lap_id
          FROM assignment s JOIN release r ON r.id = s.release_id JOIN campaign c ON c.id = s.campaign_id
          JOIN assignment later ON later.campaign_id = s.campaign_id AND later.vin = s.vin AND later.step > s.step
         WHERE s.step > 0 AND s.kind = 'step' AND s.state IN ('failed', 'rolled_back', 'cancelled', 'expired')
           AND later.kind <> 'rollback' AND later.state = 'pending'
         ORDER BY later.action_id, s.step LIMIT :rows_max FOR UPDATE OF later SKIP LOCKED) AS broken
 WHERE a.action_id = broken.action_id
RETURNING a.action_id, a.campaign_id, a.vin, a.wave, a.kind, a.state, a.state_detail, broken.lap_id;

-- name: paused_s$
SELECT coalesce(sum(greatest(0, least((body ->> 'paused_s')::float, extract(epoch FROM recorded_at - :since)))), 0)::bigint
  FROM fact WHERE subject = :campaign_id AND kind = 'campaign.resumed';

-- name: insert_gate_decision!
INSERT INTO gate_decision (campaign_id, wave, decision, reason, facts, policy, decided_at)
VALUES (:campaign_id, :wave, :decision, :reason, :facts, :policy, :now);

-- name: is_accepted$
SELECT EXISTS (SELECT 1 FROM fact WHERE subject = :campaign_id AND kind = 'campaign.resumed'
                  AND body ->> :what = :wave::text);

-- name: harm_accepted^
SELECT coalesce(max((body ->> 'harm_accepted')::bigint), 0) AS harmed, count(body ->> 'harm_accepted') AS times
  FROM fact WHERE subject = :campaign_id AND kind = 'campaign.resumed';

-- name: newest_go_on^
SELECT body, event_at FROM fact
 WHERE subject = :campaign_id AND kind = 'campaign.resumed' AND body ->> :what = :wave::text
 ORDER BY seq DESC LIMIT 1;

-- name: last_gate_decision^
SELECT decision, reason FROM gate_decision
 WHERE campaign_id = :campaign_id AND wave = :wave ORDER BY id DESC LIMIT 1;

-- name: gate_decisions
SELECT id, wave, decision, reason, facts, policy, decided_at FROM gate_decision
 WHERE campaign_id = :campaign_id ORDER BY id DESC LIMIT :rows_max;

-- name: newest_growth$
SELECT (facts -> 'evidence' ->> 'id')::bigint FROM gate_decision
 WHERE campaign_id = :campaign_id AND decision = 'grow' ORDER BY id DESC LIMIT 1;

-- name: newest_grow$
SELECT id FROM gate_decision WHERE campaign_id = :campaign_id AND decision = 'grow' ORDER BY id DESC LIMIT 1;

-- name: readings_of_advance$
SELECT facts -> 'evidence' -> 'readings' FROM gate_decision
 WHERE campaign_id = :campaign_id AND decision = 'advance' ORDER BY id DESC LIMIT 1;

-- name: last_seen
-- The newest tick in which either arm was exposed, of each metric; what is at 2 and 3 of its counts is `ticks.py`.
SELECT asked.metric, newest.tick
  FROM unnest(:metrics::text[]) AS asked (metric) CROSS JOIN (VALUES (2), (3)) AS arm (place)
  LEFT JOIN LATERAL (SELECT t.tick FROM gate_tick t
                      WHERE t.campaign_id = :campaign_id AND t.metric = asked.metric
                        AND (t.counts ->> arm.place)::bigint > 0
                      ORDER BY t.tick DESC LIMIT 1) AS newest ON true;

-- name: ramp_state^
SELECT count(*) FILTER (WHERE state = 'pending' AND released_at IS NULL) AS left,
       count(*) FILTER (WHERE released_at IS NOT NULL AND state IN ('pending', 'offered')) AS offered,
       count(*) FILTER (WHERE begun) AS begun,
       coalesce(sum(extract(epoch FROM
           CASE WHEN state = 'offered' THEN :now ELSE coalesce(began_at, finished_at, last_report_at, :now) END
           - offered_at)) FILTER (WHERE offered_at IS NOT NULL AND state <> 'pending'), 0)::bigint AS offered_s,
       coalesce(sum(CASE WHEN state = 'installed' THEN
           1000 * greatest(0, least(1, 1 - extract(epoch FROM :through - finished_at) / :window_s))
           ELSE 1000 END) FILTER (WHERE state IN ('active', 'cancelling', 'installed')), 0)::bigint AS in_flight_milli
  FROM (SELECT *, state NOT IN ('pending', 'offered', 'cancelled')
                  AND NOT (state = 'expired' AND began_at IS NULL) AS begun
          FROM assignment WHERE campaign_id = :campaign_id AND kind = 'update') AS a;

-- name: past_installations^
SELECT count(*) FILTER (WHERE a.state = 'installed') AS installed,
       count(*) FILTER (WHERE a.state = 'failed' OR a.state = 'expired' AND a.began_at IS NOT NULL) AS failed,
       count(*) FILTER (WHERE a.state = 'rolled_back') AS rolled_back
  FROM assignment a
  JOIN (SELECT c.id FROM campaign c JOIN release r ON r.id = c.release_id
          LEFT JOIN campaign_plan p ON p.id = c.plan_id
         WHERE r.programme_id = :programme_id AND c.state = 'finished'
           AND p.document -> 'request' ->> 'urgency' IS DISTINCT FROM 'download_only'  -- nothing was installed
         ORDER BY c.id DESC LIMIT :campaigns_max) AS earlier ON earlier.id = a.campaign_id
 WHERE a.kind = 'update';

-- Evidence against the control group -------------------------------------------------------------
-- name: compared_campaigns
SELECT c.id FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id
 WHERE c.state IN ('running', 'paused')
   AND jsonb_typeof(p.document -> 'request' -> 'gate' -> 'sequential') = 'object'
 ORDER BY c.id LIMIT :rows_max;

-- name: updated_vehicles
SELECT a.vin, a.finished_at, v.variant, v.region, v.gateway
  FROM assignment a JOIN vehicle v ON v.vin = a.vin
 WHERE a.campaign_id = :campaign_id AND a.kind = 'update' AND a.state = 'installed' AND a.finished_at > :since;

-- name: control_vehicles
SELECT t.vin, v.variant, v.region, v.gateway, t.let_go_at
  FROM campaign_target t JOIN vehicle v ON v.vin = t.vin
 WHERE t.plan_id = :plan_id AND t.verdict = 'control';

-- name: control_changed
-- Vehicles of a control group of which something else is known than when they were last judged. What a late joiner was
-- told before it joined is no change; of one that joined without a number nothing tells what changed.
SELECT t.vin, v.config_generation, r.steps AS way, t.reason = 'joined' AND t.config_generation IS NULL AS unread,
       (SELECT min(at) FROM (SELECT w.replaced_at FROM ecu_replaced w WHERE w.vin = t.vin
                             UNION ALL SELECT i.first_at FROM ecu_installed i WHERE i.vin = t.vin) AS told (at)
         WHERE greatest(:since, t.joined_at) < at) AS changed_at
  FROM campaign_target t JOIN vehicle v ON v.vin = t.vin
  LEFT JOIN campaign_resolution r ON r.plan_id = t.plan_id AND r.number = t.resolution
 WHERE t.plan_id = :plan_id AND t.verdict = 'control' AND t.let_go_at IS NULL
   AND v.config_generation IS DISTINCT FROM t.config_generation
 ORDER BY t.vin LIMIT :rows_max FOR UPDATE OF t;

-- name: keep_control!
UPDATE campaign_target t SET config_generation = m.config_generation
  FROM unnest(:vins::text[], :config_generations::int[]) AS m (vin, config_generation)
 WHERE t.plan_id = :plan_id AND t.vin = m.vin AND t.let_go_at IS NULL;

-- name: let_control_go!
UPDATE campaign_target t SET let_go_at = m.at, let_go_reason = m.reason
  FROM unnest(:vins::text[], :ats::timestamptz[], :reasons::text[]) AS m (vin, at, reason)
 WHERE t.plan_id = :plan_id AND t.vin = m.vin AND t.verdict = 'control' AND t.let_go_at IS NULL;

-- name: control_let_go
-- By reason; of those that joined late apart, as the plan does not count them.
SELECT t.let_go_reason AS reason, count(*) FILTER (WHERE t.reason <> 'joined') AS planned, count(*) AS vehicles
  FROM campaign c JOIN campaign_target t ON t.plan_id = c.plan_id
 WHERE c.id = :campaign_id AND t.let_go_at IS NOT NULL
 GROUP BY t.let_go_reason ORDER BY vehicles DESC, t.let_go_reason;

-- name: control_by_stratum
-- Without those that joined late, as the plan does not count them.
SELECT v.variant, v.region, v.gateway, count(*) AS held, count(*) FILTER (WHERE t.let_go_at IS NULL) AS "left"
  FROM campaign_target t JOIN vehicle v ON v.vin = t.vin
 WHERE t.plan_id = :plan_id AND t.verdict = 'control' AND t.reason <> 'joined'
 GROUP BY v.variant, v.region, v.gateway;

-- name: gate_ticks
SELECT id, metric, tick, stratum, counts FROM gate_tick
 WHERE campaign_id = :campaign_id AND tick >= :since_tick AND id <= :last_id ORDER BY id;

-- name: plan_strata$
SELECT p.document -> 'strata' FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id WHERE c.id = :campaign_id;

-- name: insert_gate_ticks!
INSERT INTO gate_tick (campaign_id, metric, tick, stratum, counts, recorded_at)
SELECT :campaign_id, given.metric, given.tick, given.stratum, given.counts, :now
  FROM jsonb_to_recordset(:rows) AS given (metric text, tick bigint, stratum text, counts jsonb);

-- name: insert_gate_reading$
INSERT INTO gate_reading (campaign_id, through_us, last_tick_id, readings, policy, refused, read_at)
VALUES (:campaign_id, :through_us, :last_tick_id, :readings, :policy, :refused, :now)
    ON CONFLICT (campaign_id, through_us) DO NOTHING RETURNING id;

-- name: read_through$
SELECT max(through_us) FROM gate_reading WHERE campaign_id = :campaign_id AND through_us <= :until_us;

-- name: reading^
SELECT id, campaign_id, through_us, last_tick_id, readings, policy, refused, read_at
  FROM gate_reading WHERE campaign_id = :campaign_id AND id = :reading_id;

-- name: newest_reading^
SELECT id, campaign_id, through_us, last_tick_id, readings, policy, refused, read_at,
       (SELECT r.refused FROM gate_reading r
         WHERE r.campaign_id = :campaign_id AND r.refused <> '' ORDER BY r.id LIMIT 1) AS ever_refused
  FROM gate_reading WHERE campaign_id = :campaign_id ORDER BY id DESC LIMIT 1;

-- name: wave_fact_id$
SELECT id FROM fact
 WHERE subject = :campaign_id AND kind = 'campaign.wave_started' AND (body ->> 'wave')::int = :wave
 ORDER BY seq DESC LIMIT 1;

-- name: vehicle_fact_ids
SELECT id FROM fact
 WHERE kind = ANY (:kinds) AND body ->> 'campaign_id' = :campaign_id
 ORDER BY seq DESC LIMIT :rows_max;

-- name: notify_assignment$
SELECT pg_notify('ringroad_assignment', :campaign_id);

-- Reports ----------------------------------------------------------------------------------------
-- name: try_lock$
SELECT pg_try_advisory_xact_lock(:key);

-- name: unapplied_reports
SELECT id, vin, action_id, kind, event_at, received_at, body
  FROM device_report WHERE applied_at IS NULL ORDER BY id LIMIT :rows_max;

-- name: keep_campaigns
SELECT id FROM campaign
 WHERE id IN (SELECT campaign_id FROM assignment WHERE action_id = ANY (:action_ids)
              UNION SELECT campaign_id FROM assignment
                     WHERE vin = ANY (:vins) AND state IN ('offered', 'active', 'cancelling'))
 ORDER BY id FOR SHARE;

-- name: lock_actions
SELECT a.action_id, a.campaign_id, a.vin, a.wave, a.kind, a.state, a.offered_at,
       coalesce(a.release_id, c.release_id) AS release_id, a.packages::text AS packages, a.previous_release_id,
       c.lap_id, a.attempt, a.began_at, a.step,
       CASE WHEN a.state = 'cancelling' AND starts_with(a.state_detail, 'declined by ') THEN a.state_detail ELSE '' END AS declined,
       CASE WHEN a.state = 'cancelling' AND starts_with(a.state_detail, 'gave way to ') AND c.state IN ('running', 'paused')
            THEN a.state_detail ELSE '' END AS gave_way,
       coalesce(c.state = 'halted' AND a.kind = 'update'
                AND (p.document -> 'request' ->> 'rollback_installed')::boolean, false) AS goes_back,
       a.kind <> 'rollback' AND p.document -> 'request' ->> 'urgency' IS NOT DISTINCT FROM 'download_only' AS download_only,
       CASE WHEN a.kind <> 'rollback' AND a.state <> 'cancelling' AND c.state IN ('running', 'paused')
            THEN nullif(p.document -> 'request' -> 'retry', 'null'::jsonb) END AS retry,
       p.document -> 'success' -> v.variant AS success, coalesce(p.document ? 'success', false) AS has_rules, a.claimed_at,
       CASE WHEN jsonb_typeof(p.document -> 'request' -> 'retry') = 'object'
            -- By any action of the same release: a client may keep an image from the attempt or campaign before.
            THEN EXISTS (
                SELECT FROM device_report d WHERE d.vin = a.vin AND d.kind = 'fetched' AND (
                    d.action_id = a.action_id
                    OR EXISTS (SELECT FROM assignment o JOIN campaign oc ON oc.id = o.campaign_id
                                WHERE o.action_id = d.action_id AND o.vin = a.vin
                                  AND coalesce(o.release_id, oc.release_id) = coalesce(a.release_id, c.release_id))
                    OR EXISTS (SELECT FROM fact f
                                WHERE f.subject = a.vin AND f.kind = 'vehicle.attempt_failed'
                                  AND (f.body ->> 'action_id')::int = d.action_id
                                  AND f.body ->> 'release_id' = coalesce(a.release_id, c.release_id))))
            ELSE true END AS fetched
  FROM assignment a JOIN campaign c ON c.id = a.campaign_id JOIN vehicle v ON v.vin = a.vin
  LEFT JOIN campaign_plan p ON p.id = c.plan_id
 WHERE a.action_id = ANY (:action_ids) ORDER BY a.action_id FOR UPDATE OF a;

-- name: claims_of
-- Actions that these vehicles say they did, and have yet to say that they run what it put on them.
SELECT a.action_id FROM assignment a
 WHERE a.vin = ANY (:vins) AND a.claimed_at IS NOT NULL
   AND (a.state IN ('pending', 'offered', 'active', 'cancelling')
        OR a.state = 'expired'
           AND NOT EXISTS (SELECT FROM assignment o WHERE o.vin = a.vin AND o.offered_at > a.offered_at));

-- name: awaited
SELECT chosen.ecu, p.version, p.image_sha256 AS sha256, i.version AS version_before, i.image_sha256 AS sha256_before
  FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id
  JOIN release r ON r.id = coalesce(a.release_id, c.release_id)
  JOIN vehicle v ON v.vin = a.vin
 CROSS JOIN LATERAL jsonb_each_text(coalesce(a.packages, r.document -> 'variants' -> v.variant)) AS chosen (ecu, package_id)
  JOIN software_package p ON p.id = chosen.package_id
  LEFT JOIN ecu e ON e.vin = a.vin AND e.name = chosen.ecu AND e.removed_at IS NULL
  LEFT JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
 WHERE a.action_id = :action_id;

-- name: try_again
-- The failed attempt is over under its number; the next one has a number of its own, which no old report names.
UPDATE assignment a
   SET action_id = DEFAULT, state = 'pending', state_detail = m.detail, attempt = a.attempt + 1,
       not_before = m.again_at, offered_at = NULL, deadline_at = NULL, last_report_at = m.at, began_at = NULL,
       generation = a.generation + 1
  FROM unnest(:action_ids::int[], :details::text[], :ats::timestamptz[], :again_ats::timestamptz[])
       AS m (action_id, detail, at, again_at)
 WHERE a.action_id = m.action_id
RETURNING m.action_id AS failed, a.action_id AS following;

-- name: go_on_after
-- What a vehicle dropped for something else that it was told since, or is told now as it was to cancel for it. It keeps
-- the old number as ended, and would take no offer under it; so as for another attempt, but none is counted. Each time
-- needs a later offer of another campaign, or its recall.
UPDATE assignment a
   SET action_id = DEFAULT, state = 'pending', offered_at = NULL, deadline_at = NULL, last_report_at = :now,
       not_before = :now, began_at = NULL, generation = a.generation + 1,
       state_detail = 'gave way to ' || CASE WHEN told.recall THEN 'the emergency recall ' ELSE '' END || told.name
  FROM assignment mine
 CROSS JOIN LATERAL (
       SELECT o.campaign_id, c.name, coalesce((p.document -> 'request' ->> 'recall')::boolean, false) AS recall
         FROM assignment o JOIN campaign c ON c.id = o.campaign_id LEFT JOIN campaign_plan p ON p.id = c.plan_id
        WHERE o.vin = mine.vin AND o.campaign_id <> mine.campaign_id
          AND (o.offered_at >= mine.released_at AND (mine.not_before IS NULL OR mine.not_before < o.offered_at)
               OR mine.state = 'cancelling' AND mine.state_detail = 'gave way to the emergency recall ' || c.name)
        ORDER BY o.offered_at DESC NULLS LAST, o.action_id DESC LIMIT 1) AS told
 WHERE mine.action_id = ANY (:action_ids::int[]) AND a.action_id = mine.action_id
RETURNING mine.action_id AS dropped, a.action_id AS following, told.campaign_id AS other;

-- name: apply_moves!
UPDATE assignment a
   SET state = m.state, state_detail = m.detail, last_report_at = m.at,
       finished_at = CASE WHEN m.closed THEN m.at END,
       began_at = CASE WHEN m.began THEN coalesce(a.began_at, m.at) ELSE a.began_at END,
       claimed_at = CASE WHEN m.claimed THEN coalesce(a.claimed_at, m.at) ELSE a.claimed_at END,
       generation = a.generation + 1
  FROM unnest(:action_ids::int[], :states::text[], :details::text[], :ats::timestamptz[], :closed::bool[],
              :began::bool[], :claimed::bool[])
       AS m (action_id, state, detail, at, closed, began, claimed)
 WHERE a.action_id = m.action_id;

-- name: mark_applied!
UPDATE device_report r SET applied_at = :now, outcome = m.outcome
  FROM unnest(:ids::bigint[], :outcomes::text[]) AS m (id, outcome)
 WHERE r.id = m.id;

-- name: block_vehicles
UPDATE vehicle SET blocked_reason = :reason, generation = generation + 1
 WHERE vin = ANY (:vins) AND blocked_reason IS NULL RETURNING vin;

-- name: free_vehicles
UPDATE vehicle SET blocked_reason = NULL, generation = generation + 1
 WHERE vin = ANY (:vins) AND blocked_reason = :reason RETURNING vin;

-- name: set_vehicle_releases!
UPDATE vehicle v SET release_id = m.release_id, generation = v.generation + 1
  FROM unnest(:vins::text[], :release_ids::text[]) AS m (vin, release_id)
 WHERE v.vin = m.vin AND v.release_id IS DISTINCT FROM m.release_id;

-- name: set_installed_from_release!
INSERT INTO ecu_installed (vin, serial, filename, version, image_sha256, reported_at, first_at)
SELECT e.vin, e.serial, p.filename, p.version, p.image_sha256, m.at, m.at
  FROM unnest(:vins::text[], :release_ids::text[], :packages::text[], :ats::timestamptz[])
       AS m (vin, release_id, packages, at)
  JOIN vehicle v ON v.vin = m.vin AND v.gateway = 'ddi'
  JOIN release r ON r.id = m.release_id
 CROSS JOIN LATERAL jsonb_each_text(coalesce(m.packages::jsonb, r.document -> 'variants' -> v.variant)) AS chosen (ecu, package_id)
  JOIN software_package p ON p.id = chosen.package_id
  JOIN ecu e ON e.vin = m.vin AND e.name = chosen.ecu AND e.removed_at IS NULL
    ON CONFLICT (vin, serial) DO UPDATE
       SET filename = excluded.filename, version = excluded.version, image_sha256 = excluded.image_sha256,
           reported_at = excluded.reported_at;

-- Statements: what a vehicle says besides the course of an update ---------------------------------
-- name: consent_action!
UPDATE assignment a
   SET consented_at = :now, generation = a.generation + 1, state_detail = 'agreed to',
       deadline_at = CASE WHEN starts_with(a.state_detail, 'declined by ')  -- it has its whole time again
                          THEN greatest(a.deadline_at, a.offered_at
                                        + (p.document -> 'request' ->> 'vehicle_deadline_s')::int * interval '1 s')
                          ELSE a.deadline_at END
  FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id, vehicle v
 WHERE a.action_id = :action_id AND a.vin = :vin AND c.id = a.campaign_id AND a.consented_at IS NULL AND v.vin = a.vin
   AND (p.document -> 'request' ->> 'consent')::boolean
   AND (a.state IN ('pending', 'offered') OR a.state = 'active' AND a.began_at IS NULL AND v.gateway = 'native');

-- name: cancel_declined!
-- A native vehicle that gets ready is told to stop; on DDI nothing begins before it is agreed to.
UPDATE assignment a SET state = 'cancelling', state_detail = :declined, generation = a.generation + 1
  FROM vehicle v
 WHERE a.action_id = :action_id AND a.vin = :vin AND a.consented_at IS NULL AND v.vin = a.vin AND v.gateway = 'native'
   AND a.state = 'active' AND a.began_at IS NULL;

-- name: decline_action!
UPDATE assignment a
   SET state_detail = :declined, last_report_at = :now, generation = a.generation + 1,
       deadline_at = CASE WHEN a.deadline_at IS NOT NULL
                          THEN least(a.deadline_at, :now::timestamptz + :second_thought_s::int * interval '1 s') END
  FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id
 WHERE a.action_id = :action_id AND a.vin = :vin AND c.id = a.campaign_id AND a.consented_at IS NULL
   AND (p.document -> 'request' ->> 'consent')::boolean AND a.state IN ('pending', 'offered');

-- name: consent_waiting!
UPDATE assignment SET consented_at = :now, generation = generation + 1
 WHERE vin = :vin AND consented_at IS NULL AND state IN ('offered', 'active', 'cancelling');

-- name: set_auto_confirm!
UPDATE vehicle SET auto_confirm = :document, generation = generation + 1
 WHERE vin = :vin AND (auto_confirm IS NULL) <> (:document::jsonb IS NULL);

-- name: stated_release^
SELECT r.id AS release_id,
       EXISTS (SELECT FROM assignment a WHERE a.vin = v.vin AND a.state IN ('offered', 'active', 'cancelling')) AS open
  FROM vehicle v JOIN release r ON r.programme_id = v.programme_id AND r.version = :version AND r.name = :name
 WHERE v.vin = :vin AND v.gateway = 'ddi' AND r.state IN ('signed', 'withdrawn')
   AND r.document -> 'variants' ? v.variant;

-- name: expire_deadlines
-- Who was asked and said no is no vehicle that fell silent, nor is one that its fleet put off until after its deadline, if
-- it did so before the wave reached it: who is put off later may have been told, and what came of it counts.
UPDATE assignment a
   SET state = CASE WHEN due.declined OR due.put_off THEN 'cancelled' ELSE 'expired' END,
       finished_at = :now, generation = a.generation + 1,
       state_detail = CASE WHEN due.declined AND a.state_detail = 'declined by its driver' THEN 'consent_denied'
                           WHEN due.declined THEN 'consent_denied: ' || a.state_detail
                           WHEN due.put_off THEN 'put off by its fleet until after its deadline'
                           WHEN a.claimed_at IS NOT NULL THEN 'claimed, and never said that it runs it'
                           WHEN due.put_off_late THEN 'put off by its fleet after its wave had begun, and silent'
                           WHEN a.last_report_at IS NULL THEN 'never answered'
                           ELSE 'silent after: ' || a.state_detail END
  FROM campaign c, (
       SELECT o.action_id, o.state = 'offered' AND starts_with(o.state_detail, 'declined by ') AS declined,
              late.put_off AND coalesce((v.schedule ->> 'put_off_since')::timestamptz <= o.released_at, false) AS put_off,
              late.put_off AS put_off_late
         FROM assignment o JOIN campaign its ON its.id = o.campaign_id JOIN vehicle v ON v.vin = o.vin
         LEFT JOIN campaign_plan p ON p.id = its.plan_id
        CROSS JOIN LATERAL (
              SELECT o.state = 'offered' AND o.kind <> 'rollback' AND o.began_at IS NULL AND o.last_report_at IS NULL
                     AND coalesce(o.deadline_at < (v.schedule ->> 'not_before')::timestamptz, false)
                     AND NOT coalesce((p.document -> 'request' ->> 'recall')::boolean, false) AS put_off) AS late
        WHERE o.deadline_at <= :now AND o.state IN ('offered', 'active', 'cancelling') AND its.state <> 'paused'
        ORDER BY o.deadline_at LIMIT :rows_max FOR UPDATE OF o SKIP LOCKED) AS due
 WHERE c.id = a.campaign_id AND a.action_id = due.action_id
RETURNING a.action_id, a.campaign_id, a.vin, a.wave, a.kind, a.state, a.offered_at, a.began_at, a.deadline_at,
          coalesce(a.release_id, c.release_id) AS release_id, c.lap_id,
          CASE WHEN due.declined THEN 'rule:declined' WHEN due.put_off THEN 'rule:put_off' END AS let_go_by;

-- Manifests --------------------------------------------------------------------------------------
-- name: insert_manifest!
INSERT INTO vehicle_manifest (vin, digest, body, received_at) VALUES (:vin, :digest, :body, :now)
    ON CONFLICT (vin, digest) DO NOTHING;

-- name: lock_vehicle^
SELECT release_id FROM vehicle WHERE vin = :vin FOR UPDATE;

-- name: count_installed!
-- Before `set_installed`: an ECU that runs another image makes another configuration.
UPDATE vehicle SET config_generation = config_generation + 1, generation = generation + 1
 WHERE vin = :vin
   AND EXISTS (SELECT FROM unnest(:serials::text[], :sha256s::text[]) AS m (serial, sha256)
                 JOIN ecu e ON e.vin = :vin AND e.serial = m.serial
                 LEFT JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
                WHERE i.image_sha256 IS DISTINCT FROM m.sha256);

-- name: set_installed!
INSERT INTO ecu_installed (vin, serial, filename, version, image_sha256, reported_at, first_at)
SELECT e.vin, e.serial, m.filename, coalesce(p.version, 'unknown'), m.sha256, :now, :now
  FROM unnest(:serials::text[], :filenames::text[], :sha256s::text[]) AS m (serial, filename, sha256)
  JOIN ecu e ON e.vin = :vin AND e.serial = m.serial
  LEFT JOIN software_package p ON p.filename = m.filename AND p.image_sha256 = m.sha256
    ON CONFLICT (vin, serial) DO UPDATE
       SET filename = excluded.filename, version = excluded.version, image_sha256 = excluded.image_sha256,
           reported_at = excluded.reported_at;

-- name: vehicle_actions
-- What a vehicle was told last; and what it runs by an update of a campaign that is under way, if that is another.
SELECT a.action_id, a.campaign_id, a.vin, a.wave, a.kind, a.state, a.offered_at,
       coalesce(a.release_id, c.release_id) AS release_id, a.previous_release_id, c.lap_id,
       c.state AS campaign_state, a.action_id = told.action_id AS told_last,
       coalesce(c.state = 'halted' AND a.kind = 'update'
                AND (p.document -> 'request' ->> 'rollback_installed')::boolean, false) AS goes_back
  FROM assignment a JOIN campaign c ON c.id = a.campaign_id LEFT JOIN campaign_plan p ON p.id = c.plan_id
 CROSS JOIN (SELECT (SELECT o.action_id FROM assignment o WHERE o.vin = :vin AND o.offered_at IS NOT NULL
                        AND (o.state IN ('pending', 'offered', 'active', 'cancelling')
                             OR o.action_id = (SELECT action_id FROM assignment WHERE vin = :vin AND offered_at IS NOT NULL
                                                ORDER BY offered_at DESC, action_id DESC LIMIT 1))
                      ORDER BY (o.state IN ('offered', 'active', 'cancelling')) DESC, o.offered_at DESC, o.action_id DESC
                      LIMIT 1),
                    (SELECT o.action_id FROM assignment o JOIN campaign oc ON oc.id = o.campaign_id
                       JOIN vehicle v ON v.vin = o.vin
                      WHERE o.vin = :vin AND o.kind = 'update' AND o.state = 'installed'
                        AND oc.state IN ('running', 'paused') AND coalesce(o.release_id, oc.release_id) = v.release_id
                      ORDER BY o.finished_at DESC, o.action_id DESC LIMIT 1)) AS told (action_id, confirmed_id)
 WHERE a.action_id IN (told.action_id, told.confirmed_id) ORDER BY a.action_id FOR UPDATE OF a;

-- name: vehicle_denies$
SELECT EXISTS (SELECT FROM device_report r JOIN assignment a ON a.action_id = r.action_id AND a.vin = r.vin
                WHERE r.action_id = :action_id AND r.kind = 'closed' AND r.body ->> 'gateway' = 'native'
                  AND r.body ->> 'state' <> 'SUCCEEDED');

-- name: missing_targets^
-- Targets that are not shown; and those of them whose ECU runs newer software of the programme, or what a later update
-- of the vehicle puts there, so that nothing fell back. An image that the ECU ran before it was confirmed is not newer,
-- though a newer package has the same bytes. What is shown is told by its digest: an ECU that ran the bytes already is
-- left out of the update and goes on with the file's name of before, unless the package has a higher counter to commit.
SELECT count(*) AS missing,
       count(*) FILTER (WHERE later.put OR EXISTS (SELECT FROM software_package n
                                       WHERE n.programme_id = p.programme_id AND n.ecu = p.ecu
                                         AND n.image_sha256 = i.image_sha256 AND n.filename = i.filename
                                         AND p.release_counter < n.release_counter)
                          AND NOT EXISTS (SELECT FROM ecu_replaced w
                                           WHERE w.vin = i.vin AND w.serial = i.serial
                                             AND w.image_sha256 = i.image_sha256 AND w.replaced_at <= a.finished_at)) AS newer
  FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id
  JOIN release r ON r.id = c.release_id
  JOIN release wanted ON wanted.id = coalesce(a.release_id, c.release_id)
  JOIN vehicle v ON v.vin = a.vin
 CROSS JOIN LATERAL jsonb_each_text(coalesce(a.packages, wanted.document -> 'variants' -> v.variant)) AS chosen (ecu, package_id)
  LEFT JOIN software_package p ON p.id = chosen.package_id
  LEFT JOIN ecu e ON e.vin = a.vin AND e.name = chosen.ecu AND e.removed_at IS NULL
  LEFT JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
 CROSS JOIN LATERAL (
       SELECT EXISTS (SELECT FROM assignment o
                        JOIN campaign oc ON oc.id = o.campaign_id
                        JOIN release ow ON ow.id = coalesce(o.release_id, oc.release_id)
                        JOIN software_package q
                          ON q.id = coalesce(o.packages, ow.document -> 'variants' -> v.variant) ->> chosen.ecu
                       WHERE a.state = 'installed' AND o.vin = a.vin AND a.finished_at <= o.offered_at
                         AND q.image_sha256 = i.image_sha256 AND q.filename = i.filename) AS put) AS later
 WHERE a.action_id = :action_id
   AND (a.kind <> 'rollback' OR r.document -> 'variants' -> v.variant ? chosen.ecu)
   AND (i.image_sha256 IS DISTINCT FROM p.image_sha256
        OR a.state <> 'installed'
           AND EXISTS (SELECT FROM software_package f
                        WHERE f.filename = i.filename AND f.image_sha256 = i.image_sha256
                          AND f.release_counter < p.release_counter));

-- name: count_targets$
SELECT count(*) FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id
  JOIN release wanted ON wanted.id = coalesce(a.release_id, c.release_id)
  JOIN vehicle v ON v.vin = a.vin
 CROSS JOIN LATERAL jsonb_each_text(coalesce(a.packages, wanted.document -> 'variants' -> v.variant))
 WHERE a.action_id = :action_id;

-- name: touch_action!
UPDATE assignment SET last_report_at = :now WHERE action_id = :action_id;

-- name: close_action!
UPDATE assignment SET state = :state, state_detail = :detail, finished_at = :now, last_report_at = :now,
       generation = generation + 1
 WHERE action_id = :action_id;

-- name: inventory
SELECT serial, public_key, is_primary FROM ecu WHERE vin = :vin AND removed_at IS NULL ORDER BY serial;

-- name: last_manifest$
SELECT body FROM vehicle_manifest WHERE vin = :vin ORDER BY id DESC LIMIT 1;

-- Director bundles -------------------------------------------------------------------------------
-- name: waiting_for_bundle
SELECT a.action_id, a.vin, a.kind, a.wave, v.gateway, a.campaign_id, c.lap_id,
       c.release_id AS campaign_release_id, coalesce(a.release_id, c.release_id) AS release_id,
       (p.document -> 'request' ->> 'vehicle_deadline_s')::int AS deadline_s,
       coalesce(p.document -> 'request' ->> 'urgency', 'forced') AS urgency,
       CASE WHEN (p.document -> 'request' ->> 'consent')::boolean
            THEN coalesce((SELECT array_agg(phase) FROM jsonb_array_elements_text(
                               nullif(p.document -> 'request' -> 'consent_phases', 'null'::jsonb)) AS phase),
                          ARRAY['download', 'install']) ELSE '{}' END AS consent_phases,
       coalesce((p.document ->> 'install_s_estimate')::int, 0) AS install_s
  FROM assignment a
  JOIN campaign c ON c.id = a.campaign_id
  JOIN campaign_plan p ON p.id = c.plan_id
  JOIN vehicle v ON v.vin = a.vin
 WHERE a.state = 'pending' AND a.released_at IS NOT NULL AND coalesce(a.not_before, :now) <= :now
   AND (:vins::text[] IS NULL OR a.vin = ANY (:vins))
   AND (c.id = ANY (:campaign_ids) AND v.gateway = 'native' AND a.kind <> 'rollback'
        AND CASE WHEN a.step > 1 THEN v.release_id IS NOT DISTINCT FROM a.previous_release_id AND v.blocked_reason IS NULL
                 ELSE v.config_generation = a.config_generation END
        AND NOT EXISTS (SELECT 1 FROM assignment h
                         WHERE h.campaign_id = ANY (:higher) AND h.vin = a.vin AND h.kind = 'update' AND h.state = 'pending'
                           AND (h.campaign_id = ANY (:recalls)
                                OR h.released_at IS NOT NULL AND coalesce(h.not_before, :now) <= :now) OFFSET 0)
        OR a.kind = 'rollback' AND :returns)
   AND (a.step <= 1 OR NOT EXISTS (SELECT 1 FROM assignment s
                                    WHERE s.campaign_id = a.campaign_id AND s.vin = a.vin AND s.kind = 'step'
                                      AND s.step < a.step AND s.state <> 'installed'))
   AND NOT EXISTS (SELECT 1 FROM assignment o
                    WHERE o.vin = a.vin AND o.state IN ('offered', 'active', 'cancelling') OFFSET 0)
 ORDER BY a.action_id LIMIT :rows_max FOR UPDATE OF a SKIP LOCKED;

-- name: offer_issued!
UPDATE assignment SET state = 'offered', bundle = :bundle, packages = :packages, offered_at = :now,
       state_detail = CASE WHEN starts_with(state_detail, 'gave way to ') THEN '' ELSE state_detail END,
       generation = generation + 1, deadline_at = :now::timestamptz + make_interval(secs => :deadline_s)
 WHERE action_id = :action_id AND state = 'pending';

-- name: refuse_action!
UPDATE assignment SET state = 'failed', state_detail = :reason, finished_at = :now, generation = generation + 1
 WHERE action_id = :action_id AND state = 'pending';

-- name: to_withdraw
SELECT a.action_id, a.vin FROM assignment a
 WHERE a.bundle = 'issued' AND a.state IN ('pending', 'downloaded', 'failed', 'rolled_back', 'cancelled', 'expired')
 ORDER BY a.vin LIMIT :rows_max FOR UPDATE OF a SKIP LOCKED;

-- name: newer_bundle$
-- By when it was issued: what gave way to a later campaign is issued again, under its old number.
SELECT EXISTS (SELECT 1 FROM assignment a JOIN assignment mine ON mine.action_id = :action_id
                WHERE a.vin = :vin AND a.action_id <> :action_id AND a.bundle = 'issued'
                  AND ((a.offered_at, a.action_id) > (mine.offered_at, mine.action_id)
                       OR a.state IN ('offered', 'active', 'cancelling')));

-- name: mark_withdrawn!
UPDATE assignment SET bundle = 'withdrawn' WHERE action_id = :action_id;

-- name: kept_vehicles
-- One that has the release by a later update of another campaign is that campaign's to order back.
SELECT k.vin, k.previous_release_id AS release_id
  FROM kept_vehicle k
 WHERE k.campaign_id = :campaign_id
   AND NOT EXISTS (SELECT FROM assignment a
                    JOIN assignment o ON o.vin = a.vin AND o.campaign_id <> a.campaign_id AND o.kind IN ('update', 'step')
                                     AND o.state = 'installed' AND a.finished_at < o.finished_at
                    JOIN campaign d ON d.id = o.campaign_id AND coalesce(o.release_id, d.release_id) = k.release_id
                   WHERE a.campaign_id = k.campaign_id AND a.vin = k.vin AND a.kind = 'update')
 ORDER BY k.vin;

-- name: images_before
-- What the image that an ECU runs took the place of, since a campaign's update was released for its vehicle and the
-- steps before it were over.
SELECT a.campaign_id, a.vin, e.name AS ecu, was.image_sha256, was.filename,
       coalesce(i.first_at <= greatest(a.released_at, step.over_at), false) AS known
  FROM unnest(:campaign_ids::text[], :vins::text[]) AS m (campaign_id, vin)
  JOIN assignment a ON a.campaign_id = m.campaign_id AND a.vin = m.vin AND a.kind = 'update'
 CROSS JOIN LATERAL (SELECT max(s.finished_at) AS over_at FROM assignment s
                      WHERE s.campaign_id = a.campaign_id AND s.vin = a.vin AND s.kind = 'step' AND s.step > 0) AS step
  JOIN ecu e ON e.vin = a.vin AND e.removed_at IS NULL
  JOIN ecu_installed i ON i.vin = e.vin AND i.serial = e.serial
  LEFT JOIN LATERAL (
      SELECT w.image_sha256, w.filename FROM ecu_replaced w
       WHERE w.vin = e.vin AND w.serial = e.serial AND w.by_sha256 = i.image_sha256
         AND a.released_at <= w.replaced_at
         AND (step.over_at IS NULL OR step.over_at < w.replaced_at)  -- the last step itself is told at over_at
       ORDER BY w.replaced_at LIMIT 1) AS was ON true;

-- name: halted_unswept
SELECT c.id FROM campaign c JOIN campaign_plan p ON p.id = c.plan_id
 WHERE c.state = 'halted' AND c.swept_at IS NULL AND (p.document -> 'request' ->> 'rollback_installed')::boolean
 ORDER BY c.id;

-- name: set_swept!
UPDATE campaign SET swept_at = :now
 WHERE id = :campaign_id AND state = 'halted' AND swept_at IS NULL AND state_at <= :before;

-- name: missed_by_halt
SELECT a.campaign_id, a.vin, true AS goes_back
  FROM assignment a JOIN kept_vehicle k ON k.campaign_id = a.campaign_id AND k.vin = a.vin
 WHERE a.campaign_id = :campaign_id AND a.kind = 'update' AND a.previous_release_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM assignment b
                    WHERE b.campaign_id = a.campaign_id AND b.vin = a.vin AND b.kind = 'rollback')
   AND NOT EXISTS (SELECT FROM assignment o JOIN campaign d ON d.id = o.campaign_id
                    WHERE o.vin = a.vin AND o.campaign_id <> a.campaign_id AND o.kind IN ('update', 'step')
                      AND o.state = 'installed' AND a.finished_at < o.finished_at
                      AND coalesce(o.release_id, d.release_id) = k.release_id)  -- as `insert_returns` leaves it out
 ORDER BY a.vin LIMIT :rows_max;

-- name: insert_returns!
-- A return that came to nothing is ordered again under a number of its own, which no old report names.
INSERT INTO assignment (campaign_id, vin, wave, kind, release_id, previous_release_id, released_at)
SELECT campaign_id, vin, wave, 'rollback', previous_release_id, release_id, :now
  FROM kept_vehicle k
 WHERE campaign_id = :campaign_id AND previous_release_id IS NOT NULL
   AND (:vins::text[] IS NULL OR vin = ANY (:vins))
   AND NOT EXISTS (SELECT FROM assignment a
                    JOIN assignment o ON o.vin = a.vin AND o.campaign_id <> a.campaign_id AND o.kind IN ('update', 'step')
                                     AND o.state = 'installed' AND a.finished_at < o.finished_at
                    JOIN campaign d ON d.id = o.campaign_id AND coalesce(o.release_id, d.release_id) = k.release_id
                   WHERE a.campaign_id = k.campaign_id AND a.vin = k.vin AND a.kind = 'update')
    ON CONFLICT (campaign_id, vin, kind, step) DO UPDATE
       SET action_id = DEFAULT, state = 'pending', state_detail = '', attempt = assignment.attempt + 1, packages = NULL,
           released_at = :now, offered_at = NULL, deadline_at = NULL, began_at = NULL, last_report_at = NULL,
           finished_at = NULL, claimed_at = NULL, generation = assignment.generation + 1
     WHERE assignment.state IN ('failed', 'rolled_back', 'cancelled', 'expired');

-- Tags and lists ---------------------------------------------------------------------------------
-- name: set_schedules
-- Since when it is put off without a gap, beside the hours: who began to be put off after a wave had reached it may have
-- been told by then. Whoever was still put off stays so since then.
UPDATE vehicle v
   SET generation = generation + 1,
       schedule = :schedule::jsonb || CASE WHEN :schedule::jsonb ->> 'not_before' IS NULL THEN '{}' ELSE
           jsonb_build_object('put_off_since', CASE WHEN (v.schedule ->> 'not_before')::timestamptz > :now
                                                    THEN coalesce(v.schedule -> 'put_off_since', to_jsonb(:now::timestamptz))
                                                    ELSE to_jsonb(:now::timestamptz) END) END
 WHERE vin = ANY (:vins) AND schedule - 'put_off_since' IS DISTINCT FROM :schedule::jsonb RETURNING vin;

-- name: count_released$
-- Without those whose silence does not count, as `expire_deadlines` lets them go.
SELECT count(DISTINCT a.vin)
  FROM assignment a JOIN campaign c ON c.id = a.campaign_id JOIN vehicle v ON v.vin = a.vin
  LEFT JOIN campaign_plan p ON p.id = c.plan_id
 WHERE a.vin = ANY (:vins) AND a.kind <> 'rollback' AND a.state IN ('pending', 'offered') AND a.released_at IS NOT NULL
   AND a.began_at IS NULL AND c.state IN ('running', 'paused')
   AND NOT (coalesce((v.schedule ->> 'put_off_since')::timestamptz <= a.released_at, false)
            AND coalesce(a.deadline_at < (v.schedule ->> 'not_before')::timestamptz, true)
            AND NOT coalesce((p.document -> 'request' ->> 'recall')::boolean, false));

-- name: asked_action^
SELECT a.action_id, a.state_detail, v.gateway, a.consented_at IS NOT NULL AS consented FROM assignment a JOIN campaign c ON c.id = a.campaign_id JOIN campaign_plan p ON p.id = c.plan_id
  JOIN vehicle v ON v.vin = a.vin
 WHERE a.vin = :vin AND a.offered_at IS NOT NULL AND c.state = 'running'
   AND (a.state IN ('pending', 'offered') OR a.state = 'active' AND a.began_at IS NULL AND v.gateway = 'native')
   AND (a.state <> 'pending'  -- what waits behind another update is asked of nobody
        OR NOT EXISTS (SELECT FROM assignment o WHERE o.vin = a.vin AND o.state IN ('offered', 'active', 'cancelling')))
   AND a.consented_at IS NULL AND (p.document -> 'request' ->> 'consent')::boolean
 ORDER BY a.state = 'pending', a.offered_at DESC, a.action_id DESC LIMIT 1;

-- name: list_bound$
SELECT EXISTS (SELECT FROM account_fleet WHERE kind = 'list' AND name = :name);

-- name: known_vins
SELECT vin FROM vehicle WHERE vin = ANY (:vins);

-- name: lock_list^
SELECT name, generation FROM vehicle_list WHERE name = :name FOR UPDATE;

-- name: count_lists$
SELECT count(*) FROM vehicle_list;

-- name: upsert_list!
INSERT INTO vehicle_list (name, changed_by, changed_at) VALUES (:name, :actor, :now)
    ON CONFLICT (name) DO UPDATE SET generation = vehicle_list.generation + 1, changed_by = :actor, changed_at = :now;

-- name: delete_list!
DELETE FROM vehicle_list WHERE name = :name;

-- name: keep_members!
DELETE FROM vehicle_list_member m
 WHERE m.list_name = :name AND NOT EXISTS (SELECT FROM unnest(:vins::text[]) AS k (vin) WHERE k.vin = m.vin);

-- name: remove_members!
DELETE FROM vehicle_list_member WHERE list_name = :name AND vin = ANY (:vins);

-- name: add_members!
INSERT INTO vehicle_list_member (list_name, vin) SELECT :name, vin FROM unnest(:vins::text[]) AS given (vin)
    ON CONFLICT DO NOTHING;

-- name: count_members$
SELECT count(*) FROM vehicle_list_member WHERE list_name = :name;

-- name: list_members
SELECT vin FROM vehicle_list_member WHERE list_name = :name AND vin > :after_vin ORDER BY vin LIMIT :rows_max::bigint;

-- name: lists
SELECT l.name, l.generation, l.changed_by, l.changed_at,
       (SELECT count(*) FROM vehicle_list_member m WHERE m.list_name = l.name) AS vehicles
  FROM vehicle_list l ORDER BY l.name;

-- name: tag_vehicles
UPDATE vehicle SET tags = ARRAY(SELECT DISTINCT unnest(tags || ARRAY[:tag::text]) ORDER BY 1),
       generation = generation + 1
 WHERE vin = ANY (:vins) AND NOT tags @> ARRAY[:tag::text] AND cardinality(tags) < :tags_max RETURNING vin;

-- name: full_vehicles
SELECT vin FROM vehicle
 WHERE vin = ANY (:vins) AND NOT tags @> ARRAY[:tag::text] AND cardinality(tags) >= :tags_max ORDER BY vin;

-- name: untag_vehicles
UPDATE vehicle SET tags = array_remove(tags, :tag::text), generation = generation + 1
 WHERE vin = ANY (:vins) AND tags @> ARRAY[:tag::text] RETURNING vin;

-- name: new_tallies$
SELECT count(*) FROM (SELECT FROM campaign_tally WHERE NOT folded LIMIT :rows_max) AS waiting;

-- name: fold_tallies!
-- Each row is taken by one folder, and stands in one row or the other at every moment.
WITH taken AS (
    DELETE FROM campaign_tally WHERE id IN (
        SELECT id FROM campaign_tally WHERE NOT folded ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED)
    RETURNING campaign_id, kind, wave, state, claimed, minute, vehicles, newest_report_at
)
INSERT INTO campaign_tally AS kept (campaign_id, kind, wave, state, claimed, minute, vehicles, newest_report_at, folded)
SELECT campaign_id, kind, wave, state, claimed, minute, sum(vehicles), max(newest_report_at), true FROM taken
 GROUP BY campaign_id, kind, wave, state, claimed, minute ORDER BY campaign_id, kind, wave, state, claimed, minute
ON CONFLICT (campaign_id, kind, wave, state, claimed, minute) WHERE folded DO UPDATE
   SET vehicles = kept.vehicles + excluded.vehicles,
       newest_report_at = greatest(kept.newest_report_at, excluded.newest_report_at);

-- name: new_fleet_tallies$
SELECT count(*) FROM (SELECT FROM fleet_tally WHERE NOT folded LIMIT :rows_max) AS waiting;

-- name: fold_fleet_tallies!
WITH taken AS (
    DELETE FROM fleet_tally WHERE id IN (
        SELECT id FROM fleet_tally WHERE NOT folded ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED)
    RETURNING programme_id, variant, release_id, blocked, vehicles
)
INSERT INTO fleet_tally AS kept (programme_id, variant, release_id, blocked, vehicles, folded)
SELECT programme_id, variant, release_id, blocked, sum(vehicles), true FROM taken
 GROUP BY programme_id, variant, release_id, blocked ORDER BY programme_id, variant, release_id, blocked
ON CONFLICT (programme_id, variant, release_id, blocked) WHERE folded DO UPDATE SET vehicles = kept.vehicles + excluded.vehicles;

-- file: src/ringroad/signal/demand/queries.sql
-- name: programme^
SELECT document FROM programme WHERE id = :programme_id;

-- name: lock_demand$
SELECT pg_advisory_xact_lock(hashtext('ringroad.demand ' || :programme_id));

-- name: book^
SELECT * FROM demand_book WHERE programme_id = :programme_id;

-- name: set_book!
INSERT INTO demand_book (programme_id, plants, regions, horizon, holding_milli, shortage_milli, count_orders, usage,
                         generation, set_by, set_at)
VALUES (:programme_id, :plants, :regions, :horizon, :holding_milli, :shortage_milli, :count_orders, :usage, 1, :actor,
        :now)
ON CONFLICT (programme_id) DO UPDATE
   SET plants = :plants, regions = :regions, horizon = :horizon, holding_milli = :holding_milli,
       shortage_milli = :shortage_milli, count_orders = :count_orders, usage = :usage,
       generation = demand_book.generation + 1, set_by = :actor, set_at = :now
 WHERE demand_book.generation = :generation;

-- name: books_with_usage
SELECT * FROM demand_book WHERE usage <> '{}' ORDER BY programme_id;

-- name: usage_known$
SELECT min(n.month) FROM demand_book b
 CROSS JOIN LATERAL jsonb_object_keys(b.usage) AS o (option)
  LEFT JOIN LATERAL (SELECT max(month) AS month FROM demand_signal s
                      WHERE s.programme_id = b.programme_id AND s.option = o.option AND s.kind = 'usage'
                        AND s.source = :lake || (b.usage ->> o.option)) AS n ON true
 WHERE b.programme_id = :programme_id HAVING bool_and(n.month IS NOT NULL);

-- name: used_names^
SELECT array_agg(DISTINCT plant) AS plants, array_agg(DISTINCT region) AS regions FROM demand_month
 WHERE programme_id = :programme_id;

-- name: differing
SELECT t.option, t.plant, t.region, t.model, t.month, m.units AS before, t.units AS units
  FROM unnest(:options::text[], :plants::text[], :regions::text[], :models::text[], :months::date[], :units::integer[])
         AS t (option, plant, region, model, month, units)
  JOIN demand_month m USING (option, plant, region, model, month)
 WHERE m.programme_id = :programme_id AND m.units <> t.units ORDER BY 1, 2, 3, 4, 5;

-- name: put_months!
INSERT INTO demand_month (programme_id, option, plant, region, model, month, units, source, told_at)
SELECT :programme_id, t.option, t.plant, t.region, t.model, t.month, t.units, :source, :now
  FROM unnest(:options::text[], :plants::text[], :regions::text[], :models::text[], :months::date[], :units::integer[])
         AS t (option, plant, region, model, month, units)
ON CONFLICT (programme_id, option, plant, region, model, month) DO UPDATE
   SET units = excluded.units, source = excluded.source, told_at = excluded.told_at
 WHERE demand_month.units <> excluded.units;

-- name: spans
SELECT option, plant, region, model, min(month) AS first, max(month) AS last, count(*) AS months
  FROM demand_month WHERE programme_id = :programme_id GROUP BY 1, 2, 3, 4;

-- name: fill_months!
INSERT INTO demand_month (programme_id, option, plant, region, model, month, units, source, told_at)
SELECT :programme_id, s.option, s.plant, s.region, s.model, m.month::date, 0, :source, :now
  FROM (SELECT option, plant, region, model, min(month) AS first FROM demand_month
         WHERE programme_id = :programme_id GROUP BY 1, 2, 3, 4) s,
       generate_series(s.first, (SELECT max(month) FROM demand_month WHERE programme_id = :programme_id),
                       interval '1 month') AS m (month)
ON CONFLICT DO NOTHING;

-- name: months
SELECT option, plant, region, model, month, units FROM demand_month WHERE programme_id = :programme_id
 ORDER BY option, plant, region, model, month;

-- name: known_signals
SELECT * FROM demand_signal WHERE programme_id = :programme_id AND id = ANY (:ids);

-- name: insert_signal*!
INSERT INTO demand_signal (programme_id, id, kind, option, plant, region, model, month, value, elapsed_permille, source,
                           fact_id, told_at)
VALUES (:programme_id, :id, :kind, :option, :plant, :region, :model, :month, :value, :elapsed_permille, :source,
        :fact_id, :told_at);

-- name: signals
-- Of the use that vehicles tell, only what the signal says that the option is told by now: two signals are no series.
-- What was counted before its signal was kept is nobody's: it was counted anew since.
SELECT DISTINCT ON (kind, option, plant, region, model, month) s.*
  FROM demand_signal s JOIN demand_book b ON b.programme_id = s.programme_id
 WHERE s.programme_id = :programme_id
   AND (kind <> 'usage' OR NOT starts_with(source, :lake) OR source = :lake || (b.usage ->> option))
   AND NOT (kind = 'usage' AND source = 'the telemetry lake' AND left(id, 4) = 'lake')
 ORDER BY kind, option, plant, region, model, month, told_at DESC, id DESC;

-- name: insert_run!
INSERT INTO demand_run (id, programme_id, state, asked_by, asked_at)
VALUES (:run_id, :programme_id, 'asked', :actor, :now);

-- name: next_run^
SELECT * FROM demand_run WHERE state IN ('asked', 'running') ORDER BY asked_at, id LIMIT 1;

-- name: start_run!
UPDATE demand_run SET state = 'running', options = :options, options_done = 0, engine = :engine, started_at = :now
 WHERE id = :run_id AND state IN ('asked', 'running');

-- name: progress!
UPDATE demand_run SET options_done = :options_done WHERE id = :run_id AND state = 'running';

-- name: finish_run!
UPDATE demand_run
   SET state = 'done', horizon = :horizon, first_month = :first_month, grades = :grades, signals = :signals,
       shifts = :shifts, options_done = options, finished_at = :now
 WHERE id = :run_id AND state = 'running';

-- name: fail_run!
UPDATE demand_run SET state = 'failed', error = :error, finished_at = :now
 WHERE id = :run_id AND state IN ('asked', 'running');

-- name: insert_forecast*!
INSERT INTO demand_forecast (run_id, option, plant, region, model, is_sum, told, months, samples)
VALUES (:run_id, :option, :plant, :region, :model, :is_sum, :told, :months, :samples);

-- name: done_run^
SELECT * FROM demand_run WHERE programme_id = :programme_id AND state = 'done' ORDER BY asked_at DESC, id DESC LIMIT 1;

-- name: forecast_samples
SELECT option, plant, region, model, samples FROM demand_forecast WHERE run_id = :run_id;

-- name: forget_runs!
DELETE FROM demand_run WHERE programme_id = :programme_id AND state IN ('done', 'failed') AND id NOT IN (
    SELECT id FROM demand_run WHERE programme_id = :programme_id ORDER BY asked_at DESC, id DESC LIMIT :kept);

-- name: line_orders
SELECT variant AS model, region, unnest(array_append(options, '')) AS option,
       date_trunc('month', received_at AT TIME ZONE 'UTC')::date AS month, count(*) AS units
  FROM plant_order WHERE programme_id = :programme_id AND state <> 'cancelled' AND received_at >= :since
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: runs
SELECT * FROM demand_run
 WHERE programme_id = :programme_id AND (:run_id::text IS NULL OR id = :run_id)
 ORDER BY asked_at DESC, id DESC LIMIT :rows_max;

-- name: forecasts
SELECT run_id, option, plant, region, model, is_sum, told, months FROM demand_forecast
 WHERE run_id = :run_id AND (:option::text IS NULL OR option = :option) AND (:plant::text IS NULL OR plant = :plant)
   AND (:region::text IS NULL OR region = :region) AND (:model::text IS NULL OR model = :model)
 ORDER BY option, (plant <> '*')::int + (region <> '*')::int + (model <> '*')::int, plant, region, model
 LIMIT :rows_max OFFSET :rows_skipped;

-- name: samples_of^
SELECT f.run_id, f.option, f.plant, f.region, f.model, f.samples, r.horizon
  FROM demand_forecast f JOIN demand_run r ON r.id = f.run_id
 WHERE f.run_id = :run_id AND f.option = :option AND f.plant = :plant AND f.region = :region AND f.model = :model;

-- name: past
SELECT month, sum(units)::bigint AS units FROM demand_month
 WHERE programme_id = :programme_id AND option = :option AND (:plant = '*' OR plant = :plant)
   AND (:region = '*' OR region = :region) AND (:model = '*' OR model = :model)
 GROUP BY month ORDER BY month DESC LIMIT :rows_max;

-- file: src/ringroad/signal/queries.sql
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
SELECT * FROM diagnostic_job AS job WHERE state = 'queued' AND next_at <= :now AND expires_at > :now
   AND ((method = 'DELETE' AND path = '/sessions')
        OR EXISTS (SELECT FROM diagnostic_session AS session JOIN account ON account.name = session.account
                    WHERE session.id = job.session_id AND account.disabled_at IS NULL))
 ORDER BY next_at LIMIT :rows_max FOR UPDATE OF job SKIP LOCKED;

-- name: diagnostic_job_sent!
UPDATE diagnostic_job SET tries = tries + 1, next_at = :next_at WHERE id = :id AND state = 'queued';

-- name: hold_session_of_job$
SELECT id FROM diagnostic_session
 WHERE id = (SELECT session_id FROM diagnostic_job WHERE id = :id AND vin = :vin) FOR UPDATE;

-- name: answer_diagnostic_job!
UPDATE diagnostic_job SET state = 'answered', status = :status, answer = :answer, answered_at = :now
 WHERE id = :id AND vin = :vin AND state = 'queued';

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

-- file: src/ringroad/storage/queries.sql
-- name: insert_lap!
INSERT INTO lap (id, title, opened_at) VALUES (:lap_id, :title, :opened_at);

-- name: insert_fact!
INSERT INTO fact (id, kind, stage, subject, lap_id, causes, actor, work_started_at, event_at, recorded_at, body)
VALUES (:id, :kind, :stage, :subject, :lap_id, :causes, :actor, :work_started_at, :event_at, :recorded_at, :body);

-- name: notify_fact$
SELECT pg_notify('ringroad_fact', :payload);

-- name: facts
SELECT * FROM fact
 WHERE (:lap_id::text IS NULL OR lap_id = :lap_id)
   AND (:subject::text IS NULL OR subject = :subject)
   AND seq > :after_seq
 ORDER BY seq
 LIMIT :rows_max;

-- name: latest_fact^
SELECT * FROM fact WHERE kind = :kind AND subject = :subject ORDER BY seq DESC LIMIT 1;

-- name: latest_of_kinds^
SELECT * FROM fact
 WHERE kind = ANY (:kinds) AND subject = :subject
   AND (:programme_id::text IS NULL OR coalesce(body ->> 'programme_id', :programme_id) = :programme_id)
 ORDER BY seq DESC LIMIT 1;

-- name: latest_about^
SELECT * FROM fact WHERE subject = :subject ORDER BY seq DESC LIMIT 1;

-- name: latest_setback^
-- What became of the vehicles of a stopped campaign neither sends a lap back nor ends it.
SELECT * FROM fact
 WHERE lap_id = :lap_id AND kind = ANY (:kinds) AND (body ->> 'measure') IS DISTINCT FROM 'recovery'
 ORDER BY seq DESC LIMIT 1;

-- name: token_digests
SELECT vin AS name, token_sha256 FROM vehicle WHERE vin = ANY(:names)
UNION ALL
SELECT 'site-' || id, token_sha256 FROM site WHERE 'site-' || id = ANY(:names) AND removed_at IS NULL;
