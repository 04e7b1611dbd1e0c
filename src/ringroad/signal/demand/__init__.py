"""How much will be wanted: forecasts of options, models, regions and plants, as distributions."""
