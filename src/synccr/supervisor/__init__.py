"""The long-lived process: owns the public port, the backends, the watcher and the policy."""
