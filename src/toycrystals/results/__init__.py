"""What people look at: names of metrics, charts and figures."""
