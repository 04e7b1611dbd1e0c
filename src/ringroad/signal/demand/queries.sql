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
