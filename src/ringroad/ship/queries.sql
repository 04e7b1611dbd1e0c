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
-- From the vehicles that have hours: a plan's vehicles are not yet known to the server's planner, and may be all.
SELECT v.schedule - 'put_off_since' AS schedule, count(*) AS vehicles FROM vehicle v
 WHERE v.schedule IS NOT NULL
   AND EXISTS (SELECT FROM campaign_target t
                WHERE t.plan_id = :plan_id AND t.vin = v.vin AND t.verdict = 'match' OFFSET 0)
 GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT :rows_max;

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

-- name: planned_middle$
-- Of a sample, or of all where that is of none: about half of the vehicles come before it.
SELECT coalesce((SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY vin) FROM vehicle TABLESAMPLE SYSTEM (1) REPEATABLE (0)
                  WHERE :programme_id::text IS NULL OR programme_id = :programme_id),
                (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY vin) FROM vehicle
                  WHERE :programme_id::text IS NULL OR programme_id = :programme_id), '');

-- name: read_in_halves$
-- For `fill_planned` of two halves: one process for each half, not several that share what can be shared and leave the rest to
-- one of them. By a cost of 4, which is for disks that turn, the server sorts again what lies in the order of its index.
SELECT set_config('min_parallel_table_scan_size', '1TB', true), set_config('min_parallel_index_scan_size', '1TB', true),
       set_config('random_page_cost', '1.1', true);

-- name: read_as_before$
SELECT set_config('min_parallel_table_scan_size', NULL, true), set_config('min_parallel_index_scan_size', NULL, true),
       set_config('random_page_cost', NULL, true);

-- name: fill_planned!
-- Not INSERT, which reads with one process only. The same bounds for each table: the server does not tell one from the
-- other. What follows the first line may stand twice, once for each half.
CREATE TEMP TABLE planned_vehicle AS
SELECT v.vin, sha256(convert_to(ROW (
           v.programme_id, v.variant, v.region, v.gateway, v.blocked_reason, e.ecus, l.names,
           CASE WHEN :marked THEN s.mark END,  -- else not looked at: temporary, so for one process
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
                AND i.vin >= :from_vin AND (:to_vin::text IS NULL OR i.vin < :to_vin)
              WHERE ecu.vin >= :from_vin AND (:to_vin::text IS NULL OR ecu.vin < :to_vin)
                AND ecu.removed_at IS NULL AND (:whole OR cardinality(:ecus::text[]) > 0)
                AND (:whole OR ecu.name = ANY (:ecus))
              GROUP BY ecu.vin) AS e ON e.vin = v.vin
  LEFT JOIN (SELECT m.vin, array_agg(m.list_name ORDER BY m.list_name) AS names
               FROM vehicle_list_member m
              WHERE m.vin >= :from_vin AND (:to_vin::text IS NULL OR m.vin < :to_vin)
                AND (m.list_name = ANY (:lists) OR m.list_name LIKE ANY (:list_patterns::text[]))
              GROUP BY m.vin) AS l ON l.vin = v.vin
  LEFT JOIN planned_sample s ON s.vin = v.vin
 WHERE v.vin >= :from_vin AND (:to_vin::text IS NULL OR v.vin < :to_vin)
   AND (:programme_id::text IS NULL OR v.programme_id = :programme_id);

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
                       row_number() OVER (ORDER BY (2 * place - 1)::float8 / (2 * size), substr(key, 5), vin) AS rank
                  -- Sorted by one key, of which the first bytes tell: by stratum and then digest takes twice as long.
                  FROM (SELECT vin, key, reason, number, size, config_generation,
                               row_number() OVER (ORDER BY key, vin) - before AS place
                          FROM (SELECT p.vin, p.config_generation, r.reason, r.number, r.size, r.before,
                                       int4send(r.stratum) || sha256(convert_to(:seed || ':' || p.vin, 'UTF8')) AS key
                                  FROM planned_vehicle p
                                  JOIN (SELECT kind, reason, number, dense_rank() OVER (ORDER BY stratum)::int AS stratum,
                                               sum(vehicles) OVER (PARTITION BY stratum) AS size,
                                               sum(vehicles) OVER (ORDER BY stratum)
                                                   - sum(vehicles) OVER (PARTITION BY stratum) AS before
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
-- Numbered in the order of the lot, and written in the order of VINs, as the indexes lie: a million rows in the order of the
-- lot take several times as long. Its places are 1 to the last, those of the control group first.
INSERT INTO assignment (action_id, campaign_id, vin, wave, step, previous_release_id, config_generation) OVERRIDING SYSTEM VALUE
SELECT (SELECT array_agg(nextval('assignment_action_id_seq')) FROM generate_series(1, :vehicles))[t.rank - :held],
       :campaign_id, t.vin, t.wave, CASE WHEN r.steps > 1 THEN r.steps ELSE 0 END, coalesce(r.after, v.release_id),
       t.config_generation
  FROM campaign_target t
  JOIN vehicle v ON v.vin = t.vin
  LEFT JOIN (SELECT number, cardinality(steps) AS steps, steps[cardinality(steps) - 1] AS after
               FROM campaign_resolution WHERE plan_id = :plan_id) AS r ON r.number = t.resolution
 WHERE t.plan_id = :plan_id AND t.verdict = 'match'
 ORDER BY t.vin;

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
