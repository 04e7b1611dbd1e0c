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
