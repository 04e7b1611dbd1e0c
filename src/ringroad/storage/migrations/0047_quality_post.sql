-- A claim's id is its sender's own: two programmes may have the same.
ALTER TABLE claim DROP CONSTRAINT claim_pkey;
ALTER TABLE claim ADD CONSTRAINT claim_pkey PRIMARY KEY (programme_id, id);
