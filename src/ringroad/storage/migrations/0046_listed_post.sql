DROP INDEX assignment_page_idx;  -- assignment_listed_idx begins with the same columns
ALTER TABLE assignment DROP CONSTRAINT assignment_campaign_id_fkey;  -- know_campaigns() looks
