-- What an ECU's data identifiers and fault codes are called. Code of the release before shows the codes alone.
CREATE TABLE ecu_names (
    programme_id text NOT NULL REFERENCES programme (id),
    ecu text NOT NULL,                 -- name in the programme, or '*' for every ECU
    data jsonb NOT NULL,               -- {"F190": "VIN"}
    faults jsonb NOT NULL,             -- {"P0A1F-00": "Traction battery: cells out of balance"}
    source text NOT NULL,              -- the file they came from
    digest text NOT NULL,              -- of both, so that the same names again are no change
    imported_by text NOT NULL,
    imported_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, ecu)
);
