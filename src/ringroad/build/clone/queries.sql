-- name: insert_proposal!
INSERT INTO plant_proposal (id, parent_id, clone_id, what, sha256, state, document, proposed_by, proposed_at)
VALUES (:proposal_id, :parent_id, :clone_id, :what, :sha256, 'open', :document, :actor, :now)
ON CONFLICT (parent_id, clone_id, sha256) WHERE state IN ('open', 'proved', 'trial') DO NOTHING;

-- name: proposals
SELECT p.*, coalesce((SELECT max(generation) FROM plant WHERE id = p.parent_id), 0) AS parent_generation
  FROM plant_proposal p
 WHERE (:proposal_id::text IS NULL OR id = :proposal_id)
   AND (:plant_id::text IS NULL OR parent_id = :plant_id OR clone_id = :plant_id)
   AND (:state::text IS NULL OR state = :state)
 ORDER BY proposed_at DESC, id DESC LIMIT :rows_max;

-- name: unproved
SELECT * FROM (
    SELECT p.*, coalesce((SELECT max(generation) FROM plant WHERE id = p.parent_id), 0) AS parent_generation
      FROM plant_proposal p WHERE state IN ('open', 'proved')
) going
 WHERE state = 'open' OR coalesce((proof->>'plant_generation')::integer, -1) <> parent_generation
 ORDER BY proposed_at, id LIMIT :rows_max;

-- name: save_proof!
UPDATE plant_proposal SET state = :state, proof = :proof, generation = generation + 1
 WHERE id = :proposal_id AND generation = :generation AND state IN ('open', 'proved');

-- name: reject_proposal!
UPDATE plant_proposal SET state = 'rejected', decided_by = :actor, decided_at = :now, generation = generation + 1
 WHERE id = :proposal_id AND generation = :generation AND state IN ('open', 'proved');

-- name: accept_proposal!
UPDATE plant_proposal SET state = 'trial', decided_by = :actor, decided_at = :now, trial = :trial,
       plant_generation = :plant_generation, generation = generation + 1
 WHERE id = :proposal_id AND generation = :generation AND state = 'proved';

-- name: look_at_trial!
UPDATE plant_proposal SET state = :state, trial = :trial, generation = generation + 1,
       ended_at = CASE WHEN :state = 'trial' THEN NULL ELSE :now::timestamptz END
 WHERE id = :proposal_id AND generation = :generation AND state = 'trial';

-- name: departures
SELECT finished_at FROM (
    SELECT finished_at, event_id FROM station_time
     WHERE programme_id = :programme_id AND station = :station
       AND (:after::timestamptz IS NULL OR finished_at > :after)
       AND (:until::timestamptz IS NULL OR finished_at <= :until)
     ORDER BY finished_at DESC, event_id DESC LIMIT :rows_max
) newest ORDER BY finished_at;

-- name: recent_moves
-- Of the line: the newest so many, in the order in which they were taken.
SELECT order_id, station, kind, at FROM (
    SELECT order_id, station, kind, at, position FROM mes_event
     WHERE programme_id = :programme_id
       AND (kind IN ('entered', 'left') OR kind IN ('stopped', 'resumed') AND coalesce(body->'options', '[]') = '[]')
       AND (:since::timestamptz IS NULL OR at > :since)
       AND (:until::timestamptz IS NULL OR at <= :until)
     ORDER BY position DESC LIMIT :rows_max
) newest ORDER BY position;

-- name: recent_breakdowns
-- Of each station: the breakdowns since the oldest of its newest so many measured times. Work without one says something
-- only where the line told of any in that time: of a line that tells none, nobody knows whether it had some.
SELECT s.name AS station, t.worked_ms, b.begun, b.began_at, b.ended_at
  FROM unnest(:stations::text[]) AS s (name)
  CROSS JOIN LATERAL (SELECT sum(worked_ms) AS worked_ms, min(finished_at) AS begins
                        FROM (SELECT worked_ms, finished_at FROM station_time
                               WHERE programme_id = :programme_id AND station = s.name
                                 AND (:since::timestamptz IS NULL OR finished_at > :since)
                                 AND (:until::timestamptz IS NULL OR finished_at <= :until)
                               ORDER BY finished_at DESC LIMIT :rows_max) newest) AS t
  CROSS JOIN LATERAL (SELECT count(*) AS begun,
                             coalesce(array_agg(began_at ORDER BY began_at, id)
                                      FILTER (WHERE ended_at IS NOT NULL), '{}') AS began_at,
                             coalesce(array_agg(ended_at ORDER BY began_at, id)
                                      FILTER (WHERE ended_at IS NOT NULL), '{}') AS ended_at
                        FROM line_stop
                       WHERE programme_id = :programme_id AND station = s.name AND kind = 'breakdown' AND options = '{}'
                         AND began_at >= t.begins AND (:until::timestamptz IS NULL OR began_at <= :until)) AS b
 WHERE b.begun > 0
    OR EXISTS (SELECT FROM line_stop WHERE programme_id = :programme_id AND kind = 'breakdown' AND began_at >= t.begins
                  AND (:until::timestamptz IS NULL OR began_at <= :until));

-- name: taken_over
SELECT document, plant_generation FROM plant_proposal
 WHERE parent_id = :plant_id AND state IN ('trial', 'kept') ORDER BY decided_at, id LIMIT :rows_max;
