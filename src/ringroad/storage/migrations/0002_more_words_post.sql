-- Reads every fact once; nobody writes meanwhile.
ALTER TABLE fact ADD CONSTRAINT fact_stage_check
    CHECK (stage IN ('signal', 'design', 'build', 'ship', 'adapt', 'house'));
ALTER TABLE outcome ADD CONSTRAINT outcome_verdict_check
    CHECK (verdict IN ('better', 'worse', 'recovered', 'not_recovered', 'unknown'));
