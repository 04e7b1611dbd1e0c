-- name: plant^
SELECT * FROM plant WHERE id = :plant_id AND (:generation::integer IS NULL OR generation = :generation)
 ORDER BY generation DESC LIMIT 1;

-- name: newest_plants
SELECT DISTINCT ON (id) * FROM plant ORDER BY id, generation DESC LIMIT :rows_max;

-- name: insert_plant!
INSERT INTO plant (id, generation, structure_sha256, parameters_sha256, document, made_by, made_at)
SELECT :plant_id, :generation + 1, :structure_sha256, :parameters_sha256, :document, :actor, :now
 WHERE :generation = coalesce((SELECT max(generation) FROM plant WHERE id = :plant_id), 0)
ON CONFLICT (id, generation) DO NOTHING;

-- name: programmes_of_plant
SELECT id, document, generation FROM programme WHERE plant_id = :plant_id ORDER BY id;

-- name: choose_plant!
UPDATE programme SET plant_id = :plant_id, generation = generation + 1
 WHERE id = :programme_id AND generation = :generation;
