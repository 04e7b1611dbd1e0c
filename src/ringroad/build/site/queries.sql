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
