-- What a clone found, proposed to a parent of it. Code of the release before proposes nothing.
CREATE TABLE plant_proposal (
    id text PRIMARY KEY,
    parent_id text NOT NULL,           -- the plant that would do it; its document is in plant
    clone_id text NOT NULL,            -- the plant that does it; perhaps of another server
    what text NOT NULL CHECK (what IN ('station', 'balance', 'buffer')),
    sha256 text NOT NULL,              -- of what is proposed, whatever the numbers
    state text NOT NULL CHECK (state IN ('open', 'proved', 'refused', 'rejected', 'trial', 'kept', 'withdrawn')),
    generation integer NOT NULL DEFAULT 1,
    document jsonb NOT NULL,           -- build/clone/improvements.py
    proof jsonb,                       -- build/clone/prove.py; NULL until the worker asked the twin
    trial jsonb,                       -- build/clone/trial.py; NULL until somebody accepted it
    plant_generation integer,          -- of the parent's document before it was shifted
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_by text,                   -- who accepted or rejected it
    decided_at timestamptz,
    ended_at timestamptz               -- the trial
);
CREATE INDEX plant_proposal_plant_idx ON plant_proposal (proposed_at DESC, id DESC);
CREATE UNIQUE INDEX plant_proposal_going_idx ON plant_proposal (parent_id, clone_id, sha256)
    WHERE state IN ('open', 'proved', 'trial');
