-- What cyclic subscriptions read, until their request is forgotten; and what is deleted or emptied is found.
-- Code of the release before writes no sample and deletes no request.
CREATE TABLE diagnostic_sample (
    job_id text NOT NULL REFERENCES diagnostic_job (id) ON DELETE CASCADE,
    number integer NOT NULL CHECK (number > 0),
    at timestamptz NOT NULL,
    data jsonb NOT NULL,
    PRIMARY KEY (job_id, number)
);
CREATE INDEX diagnostic_job_made_idx ON diagnostic_job (made_at) WHERE state <> 'queued';
CREATE INDEX diagnostic_job_bulk_idx ON diagnostic_job (answered_at) 
    WHERE answer IS NOT NULL AND starts_with(path, '/bulk-data/') AND split_part(path, '/', 4) <> '';
