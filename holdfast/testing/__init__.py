"""What tests share: conformance suites of the contracts, in-memory stores, injected faults."""
