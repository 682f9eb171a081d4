"""From every row read to the samples that train: checks, leak guard, duplicates, quotas, splits.

kept + rejected = read, for images and for captions, by source, always.
"""
