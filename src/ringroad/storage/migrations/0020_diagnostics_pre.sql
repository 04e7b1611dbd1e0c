-- Remote diagnostics: who may, sessions, and the requests of each. Code of the release before opens none.
ALTER TABLE account ADD COLUMN diagnose text NOT NULL DEFAULT '' CHECK (diagnose IN ('', 'read', 'service'));
CREATE TABLE diagnostic_session (
    id text PRIMARY KEY,
    vin text NOT NULL REFERENCES vehicle (vin),
    account text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('read', 'service')),
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('asked', 'open', 'declined', 'closed', 'expired')),
    consent text NOT NULL DEFAULT '',  -- driver, standing or test: what the vehicle says it rests on
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX diagnostic_session_vin_idx ON diagnostic_session (vin, asked_at DESC, id DESC);
CREATE UNIQUE INDEX diagnostic_session_one_idx ON diagnostic_session (vin, account) WHERE state IN ('asked', 'open');
CREATE INDEX diagnostic_session_end_idx ON diagnostic_session (expires_at) WHERE state IN ('asked', 'open');
CREATE TABLE diagnostic_job (
    id text PRIMARY KEY,
    session_id text NOT NULL REFERENCES diagnostic_session (id),
    vin text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    body jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'answered', 'expired', 'cancelled')),
    made_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,      -- when it is sent (again)
    status integer,                    -- HTTP's, of the vehicle's answer
    answer jsonb,                      -- emptied after a while
    answered_at timestamptz
);
CREATE INDEX diagnostic_job_due_idx ON diagnostic_job (next_at) WHERE state = 'queued';
CREATE INDEX diagnostic_job_vin_idx ON diagnostic_job (vin, made_at DESC, id DESC);
CREATE INDEX diagnostic_job_session_idx ON diagnostic_job (session_id);
CREATE INDEX diagnostic_job_answer_idx ON diagnostic_job (answered_at) WHERE answer IS NOT NULL;
