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
SELECT station, vehicle, at_once FROM station_pass WHERE programme_id = :programme_id AND vehicle = ANY(:vehicles::text[]);

-- name: vehicles_passed
SELECT station, variant, max(number) + 1 AS vehicles FROM station_pass
 WHERE programme_id = :programme_id AND station = ANY(:stations::text[]) GROUP BY station, variant;

-- name: insert_pass!
INSERT INTO station_pass (programme_id, station, vehicle, plant_id, variant, software, lots, at_once, number, period, at)
VALUES (:programme_id, :station, :vehicle, :plant_id, :variant, :software, :lots, :at_once, :number, :period, :at);

-- name: update_pass!
UPDATE station_pass SET at_once = at_once AND :at_once, lots = lots || :lots
 WHERE programme_id = :programme_id AND station = :station AND vehicle = :vehicle;

-- name: list_results
SELECT *, check_name AS check FROM station_result
 WHERE programme_id = :programme_id
   AND (:vehicle::text IS NULL OR vehicle = :vehicle
        OR order_id = (SELECT id FROM plant_order WHERE programme_id = :programme_id AND vin = :vehicle))
   AND (:station::text IS NULL OR station = :station)
 ORDER BY told_at DESC, at DESC, event_id DESC LIMIT :rows_max;

-- name: forget_results!
DELETE FROM station_result WHERE programme_id = :programme_id AND told_at < :oldest;
