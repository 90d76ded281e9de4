"""What watches the system: Prometheus' rules, Grafana's dashboards, and the code that writes these."""
