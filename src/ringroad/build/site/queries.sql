-- name: sites
SELECT * FROM site WHERE removed_at IS NULL ORDER BY id LIMIT :rows_max;

-- name: site^
SELECT * FROM site WHERE id = :site_id;

-- name: put_site!
INSERT INTO site (id, token_sha256, added_by, added_at) VALUES (:site_id, :token_sha256, :actor, :now)
ON CONFLICT (id) DO UPDATE SET token_sha256 = excluded.token_sha256, added_by = excluded.added_by,
       added_at = excluded.added_at, removed_at = NULL, generation = site.generation + 1;

-- name: remove_site!
UPDATE site SET removed_at = :now, generation = generation + 1 WHERE id = :site_id AND removed_at IS NULL;

-- name: hear_site!
UPDATE site SET waiting = :waiting::bigint, heard_at = :now,
       reconciled_at = CASE WHEN :waiting::bigint = 0 THEN :now ELSE reconciled_at END
 WHERE id = :site_id;

-- name: put_conflict!
INSERT INTO site_conflict (site_id, kind, subject, reason, at) VALUES (:site_id, :kind, :subject, :reason, :now)
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

-- name: unsent
-- What a site's hub does not have yet, by programme; positions have no gaps.
SELECT p.id AS programme_id, coalesce(s.number, 0) AS sent, e.last - greatest(coalesce(s.number, 0), e.first - 1) AS events
  FROM programme p
  LEFT JOIN site_place s ON s.name = 'sent/' || p.id
 CROSS JOIN LATERAL (SELECT min(position) AS first, max(position) AS last FROM mes_event WHERE programme_id = p.id) e
 WHERE coalesce(s.number, 0) < e.last
 ORDER BY p.id;

-- name: events_to_send
SELECT position, seq, received_at, body FROM mes_event
 WHERE programme_id = :programme_id AND position > :after ORDER BY position LIMIT :rows_max;

-- name: cancelled_orders
SELECT id FROM plant_order WHERE programme_id = :programme_id AND id = ANY(:order_ids) AND state = 'cancelled' ORDER BY id;
