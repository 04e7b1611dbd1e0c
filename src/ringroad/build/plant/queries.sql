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
