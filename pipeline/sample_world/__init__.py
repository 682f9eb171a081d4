"""The sample world: a seeded generator of captioned scenes in the native layouts of the three corpora.

It exists so that the whole pipeline can be run, tested and measured in minutes on two cores. Three
properties make its results mean something: images are larger than the base CLIP's input, so a crop shows
detail that the whole image blurs; the base is trained on generic captions while the corpora have detailed
ones; and the base has seen shapes and colours that the corpora never show, so that forgetting can be seen.
"""
