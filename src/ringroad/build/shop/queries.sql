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
