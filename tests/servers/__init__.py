"""Real servers for the tests, on loopback: SeaweedFS, ministack, microburst, and a proxy that makes faults."""
