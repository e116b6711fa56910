"""What synccr costs and what it saves, side by side with bare Claude Code Router (CCR)."""
