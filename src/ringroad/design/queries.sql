-- name: finding^
SELECT id, lap_id, programme_id, ecu, state, evidence, generation,
       EXISTS (SELECT FROM change c WHERE c.finding_id = finding.id) AS was_answered
  FROM finding WHERE id = :finding_id;

-- name: open_findings
SELECT id, lap_id, programme_id, ecu, state, evidence, generation,
       EXISTS (SELECT FROM change c WHERE c.finding_id = finding.id) AS was_answered
  FROM finding WHERE state = 'open' ORDER BY id LIMIT :rows_max;

-- name: accept_finding!
UPDATE finding SET state = 'accepted', state_reason = :reason, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state = 'open';

-- name: reject_finding!
UPDATE finding SET state = 'rejected', state_reason = :reason, closed_at = :now, generation = generation + 1
 WHERE id = :finding_id AND generation = :generation AND state IN ('open', 'accepted');

-- name: reject_proposed_changes
UPDATE change SET state = 'rejected', state_reason = :reason, generation = generation + 1
 WHERE finding_id = :finding_id AND state = 'proposed' RETURNING *;

-- name: has_ecu$
SELECT EXISTS (SELECT 1 FROM programme WHERE id = :programme_id AND document->'ecus' ? :ecu);

-- name: lock_finding$
SELECT generation FROM finding WHERE id = :finding_id FOR UPDATE;

-- name: count_changes$
SELECT count(*) FROM change WHERE finding_id = :finding_id;

-- name: insert_change!
INSERT INTO change (id, finding_id, lap_id, title, ecu, target, state, proposed_by, proposed_at)
VALUES (:id, :finding_id, :lap_id, :title, :ecu, :target, 'proposed', :proposed_by, :proposed_at);

-- name: approve_change!
UPDATE change SET state = 'approved', approved_by = :actor, approved_at = :now, generation = generation + 1
 WHERE id = :change_id AND generation = :generation AND state = 'proposed';

-- name: reject_change!
UPDATE change SET state = 'rejected', state_reason = :reason, generation = generation + 1
 WHERE id = :change_id AND generation = :generation AND state IN ('proposed', 'approved');

-- name: change^
SELECT * FROM change WHERE id = :change_id;

-- name: changes
SELECT * FROM change
 WHERE (:state::text IS NULL OR state = :state) AND (:finding_id::text IS NULL OR finding_id = :finding_id)
   AND (:before_id::text IS NULL OR id < :before_id)
 ORDER BY id DESC LIMIT :rows_max;
