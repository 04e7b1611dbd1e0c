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
