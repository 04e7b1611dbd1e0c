-- name: lock_repository^
SELECT pg_advisory_xact_lock(hashtextextended('repository:' || :repository || ':' || :vin, 0));

-- name: latest_metadata^
SELECT version, bytes, expires_at FROM repository_metadata
 WHERE repository = :repository AND vin = :vin AND role = :role
 ORDER BY version DESC LIMIT 1;

-- name: latest_set
SELECT DISTINCT ON (role) role, version, bytes FROM repository_metadata
 WHERE repository = :repository AND vin = :vin AND role IN ('timestamp', 'snapshot', 'targets')
 ORDER BY role, version DESC;

-- name: metadata_bytes$
SELECT bytes FROM repository_metadata
 WHERE repository = :repository AND vin = :vin AND role = :role AND version = :version;

-- name: insert_metadata!
INSERT INTO repository_metadata (repository, vin, role, version, bytes, expires_at, written_at)
VALUES (:repository, :vin, :role, :version, :bytes, :expires_at, :written_at);

-- name: delete_superseded!
-- Timestamps have no versioned name, and a Snapshot is asked for only while the Timestamp names it.
DELETE FROM repository_metadata
 WHERE repository = :repository AND vin = :vin
   AND ((role = 'timestamp' AND version < :timestamp_version)
     OR (role = 'snapshot' AND version < :snapshot_version - 1));

-- name: expiring
-- Due, or written before the newest root, whose keys may be others.
SELECT repository, vin FROM repository_metadata AS stamp
 WHERE role = 'timestamp'
   AND (expires_at <= :before
        OR written_at < (SELECT max(root.written_at) FROM repository_metadata AS root
                          WHERE root.repository = stamp.repository AND root.vin = '' AND root.role = 'root'))
 ORDER BY expires_at, repository, vin LIMIT :rows_max OFFSET :rows_skipped;
