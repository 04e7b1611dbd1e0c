-- name: insert_lap!
INSERT INTO lap (id, title, opened_at) VALUES (:lap_id, :title, :opened_at);

-- name: insert_fact!
INSERT INTO fact (id, kind, stage, subject, lap_id, causes, actor, work_started_at, event_at, recorded_at, body)
VALUES (:id, :kind, :stage, :subject, :lap_id, :causes, :actor, :work_started_at, :event_at, :recorded_at, :body);

-- name: notify_fact$
SELECT pg_notify('ringroad_fact', :payload);

-- name: facts
SELECT * FROM fact
 WHERE (:lap_id::text IS NULL OR lap_id = :lap_id)
   AND (:subject::text IS NULL OR subject = :subject)
   AND seq > :after_seq
 ORDER BY seq
 LIMIT :rows_max;

-- name: latest_fact^
SELECT * FROM fact WHERE kind = :kind AND subject = :subject ORDER BY seq DESC LIMIT 1;

-- name: latest_of_kinds^
SELECT * FROM fact
 WHERE kind = ANY (:kinds) AND subject = :subject
   AND (:programme_id::text IS NULL OR coalesce(body ->> 'programme_id', :programme_id) = :programme_id)
 ORDER BY seq DESC LIMIT 1;

-- name: latest_about^
SELECT * FROM fact WHERE subject = :subject ORDER BY seq DESC LIMIT 1;

-- name: latest_setback^
-- What became of the vehicles of a stopped campaign neither sends a lap back nor ends it.
SELECT * FROM fact
 WHERE lap_id = :lap_id AND kind = ANY (:kinds) AND (body ->> 'measure') IS DISTINCT FROM 'recovery'
 ORDER BY seq DESC LIMIT 1;

-- name: token_digests
SELECT vin AS name, token_sha256 FROM vehicle WHERE vin = ANY(:names)
UNION ALL
SELECT 'site-' || id, token_sha256 FROM site WHERE 'site-' || id = ANY(:names) AND removed_at IS NULL;
