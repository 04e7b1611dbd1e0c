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
