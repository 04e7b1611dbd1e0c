"""Ship: a release goes out in a campaign, in waves, behind a gate that fails closed."""
