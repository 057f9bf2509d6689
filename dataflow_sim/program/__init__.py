"""Instructions, and the lowering of schedules to them."""
