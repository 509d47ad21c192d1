"""What runs beside the requests: garbage collection, and the offline check of a store."""
