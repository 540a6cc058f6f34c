"""Identity-disjoint splits, readers of the public face sets, synthetic faces, and the cache they share."""
