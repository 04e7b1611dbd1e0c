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
