-- name: newest_drawn$
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM fact_seq_seq;

-- name: fact_writers
-- An INSERT takes this lock before it draws a number, and keeps it until its transaction is over.
SELECT DISTINCT virtualtransaction FROM pg_locks
 WHERE locktype = 'relation' AND relation = 'fact'::regclass AND mode = 'RowExclusiveLock' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: events_after
SELECT seq, id, kind, stage, subject, lap_id, causes, actor, work_started_at, event_at, recorded_at, body
  FROM fact
 WHERE :after_seq < seq AND seq <= :settled_seq
   AND (:kinds::text[] IS NULL OR kind = ANY (:kinds::text[]))
 ORDER BY seq LIMIT :rows_max;

-- name: seq_of_fact$
SELECT seq FROM fact WHERE id = :fact_id;

-- name: seq_before$
SELECT seq FROM fact WHERE recorded_at < :since ORDER BY seq DESC LIMIT 1;

-- name: id_up_to$
SELECT id FROM fact WHERE seq <= :seq ORDER BY seq DESC LIMIT 1;
