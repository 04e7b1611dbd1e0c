DROP INDEX campaign_target_let_go_idx;  -- campaign_target_gone_idx is the same
DROP INDEX campaign_target_apart_idx;  -- campaign_target_held_idx is the same
