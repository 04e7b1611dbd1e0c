"""Joins the stages: facts, plan, check, make current, execute. The only room that moves the world."""
