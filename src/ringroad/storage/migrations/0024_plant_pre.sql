-- Plant documents, a row for each generation. Code of the release before knows of none: a programme's own line is read.
CREATE TABLE plant (
    id text NOT NULL,
    generation integer NOT NULL CHECK (generation > 0),
    structure_sha256 text NOT NULL,
    parameters_sha256 text NOT NULL,
    document jsonb NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (id, generation)
);
ALTER TABLE programme ADD COLUMN plant_id text;  -- whose line builds it here; NULL: the programme's file says it
