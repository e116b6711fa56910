"""``synccr demo``: the whole main job, shown on a provider of its own."""
