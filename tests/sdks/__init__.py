"""Programs in Go, Java and JavaScript that do an SDK's usual work against a real server."""
