"""What is known of a provider's models: names and states, allowances, what is offered."""
