"""The egress: CCR's provider requests pass here, and each provider's own answer is judged."""
