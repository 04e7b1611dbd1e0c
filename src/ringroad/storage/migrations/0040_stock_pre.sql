-- Where parts lie in the warehouse, and how much room they take. Code of the release before does not look at it.
CREATE TABLE stock_part (
    programme_id text NOT NULL REFERENCES programme (id),
    part text NOT NULL,
    places integer NOT NULL CHECK (places > 0),
    picks_day double precision,        -- NULL: by the orders that wait
    zone text NOT NULL,                -- of the plant's warehouse; '' for nowhere yet
    told_at timestamptz NOT NULL,
    told_by text NOT NULL,
    PRIMARY KEY (programme_id, part)
);
