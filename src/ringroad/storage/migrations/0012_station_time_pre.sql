-- How long stations worked on vehicles, as they say: what the line's twin is held against.
CREATE TABLE station_time (            -- evidence as it came; forgotten after 90 days
    programme_id text NOT NULL REFERENCES programme (id),
    event_id text NOT NULL,            -- the station's own
    order_id text NOT NULL REFERENCES plant_order (id),
    station text NOT NULL,
    worked_ms integer NOT NULL CHECK (worked_ms > 0),
    finished_at timestamptz NOT NULL,  -- by the station's clock
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (programme_id, event_id)
);
CREATE INDEX station_time_station_idx ON station_time (programme_id, station, finished_at DESC);
CREATE INDEX station_time_order_idx ON station_time (order_id);
