"""Frozen results computed by actors of a Ray cluster, into a feature store that they share.

    driver: a stage                            actor (Ray), one model
      which rows are lacking, by shard   ->      its shard by URL, the same cached classes, a store of its own
      counts and names                   <-      whole segments, named by their hash, to the shared store
      fetch them; the stage then finds every row, and writes its tables as it would have

So results do not depend on the engine. An actor that dies is replaced and its shard given to another; what a shard gave
is in the store before it counts as done, and a shard that is done twice gives the same bytes: a driver that is killed
loses the shards under way, and no more. Ray itself is imported by `connection` alone, and only when it is asked for.
"""
