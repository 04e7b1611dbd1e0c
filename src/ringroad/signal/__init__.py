"""Signal: what vehicles, customers and plants report becomes a finding."""
