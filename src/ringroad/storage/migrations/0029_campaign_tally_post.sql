DROP INDEX assignment_campaign_idx;  -- assignment_page_idx begins with the same columns
