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

-- name: is_any_line_planned$
SELECT EXISTS (SELECT FROM line_schedule);

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
