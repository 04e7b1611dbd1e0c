-- Results, claims and births name vehicles by their VIN: of 300,000 orders, one was found in 65 ms, and is in 0.1.
CREATE INDEX plant_order_vin_idx ON plant_order (vin) WHERE vin IS NOT NULL;
