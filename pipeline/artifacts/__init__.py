"""What stages hand each other: schemas, tables, manifest, shards, weights, figures."""
